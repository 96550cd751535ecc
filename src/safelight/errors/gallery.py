"""Errors of the gallery."""

from __future__ import annotations

from safelight.errors.base import InputError


class GalleryError(InputError):
    """The gallery cannot do what was requested."""

    code = "gallery"
    summary = "The gallery cannot do that."
    default_hint = "docs/gallery.md lists every filter with its range."
    http_status = 422


class EntryMissingError(GalleryError):
    """There is no such entry, or it belongs to another owner."""

    code = "gallery.missing"
    summary = "There is no such entry in the gallery."
    default_hint = "It may have been deleted or have expired."
    http_status = 404


class CollectionMissingError(GalleryError):
    """There is no such collection, or it belongs to another owner."""

    code = "gallery.collection_missing"
    summary = "There is no such collection."
    default_hint = "It may have been deleted; GET /v1/collections lists them."
    http_status = 404


class CollectionExistsError(GalleryError):
    """The owner has a collection of this name."""

    code = "gallery.collection_exists"
    summary = "There is a collection of this name already."
    default_hint = "Choose another name, or use the collection that is there."
    http_status = 409


class EntryFileMissingError(GalleryError):
    """The entry's file no longer exists."""

    code = "gallery.file_missing"
    summary = "The entry's file is not in the gallery's folder any more."
    default_hint = "Another program removed it; its record is still there."
    http_status = 410
