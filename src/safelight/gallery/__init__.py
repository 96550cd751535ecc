"""The gallery: the generated pictures, their metadata, and search."""

from safelight.gallery.bulk import BulkChange, BulkResult
from safelight.gallery.collections import Collection
from safelight.gallery.embeddings import StoredEmbedding
from safelight.gallery.entry import Embedding, Entry, Facets, NewEntry, Page, Relation, Search
from safelight.gallery.gallery import Gallery
from safelight.gallery.repair import RepairReport
from safelight.gallery.tables import SCHEMA

__all__ = [
    "SCHEMA",
    "BulkChange",
    "BulkResult",
    "Collection",
    "Embedding",
    "Entry",
    "Facets",
    "Gallery",
    "NewEntry",
    "Page",
    "Relation",
    "RepairReport",
    "Search",
    "StoredEmbedding",
]
