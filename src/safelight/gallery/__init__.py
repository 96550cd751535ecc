"""The gallery: the generated pictures, their metadata, and search."""

from safelight.gallery.embeddings import StoredEmbedding
from safelight.gallery.entry import Embedding, Entry, Facets, NewEntry, Page, Search
from safelight.gallery.gallery import Gallery
from safelight.gallery.repair import RepairReport
from safelight.gallery.tables import SCHEMA

__all__ = [
    "SCHEMA",
    "Embedding",
    "Entry",
    "Facets",
    "Gallery",
    "NewEntry",
    "Page",
    "RepairReport",
    "Search",
    "StoredEmbedding",
]
