"""The record of what was made: picture files, what is known of each, and finding them again."""

from safelight.gallery.entry import Entry, Facets, NewEntry, Page, Search
from safelight.gallery.gallery import Gallery
from safelight.gallery.repair import Repaired
from safelight.gallery.tables import SCHEMA

__all__ = ["SCHEMA", "Entry", "Facets", "Gallery", "NewEntry", "Page", "Repaired", "Search"]
