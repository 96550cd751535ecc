"""Errors of the gallery."""

from __future__ import annotations

from safelight.errors.base import InputError


class GalleryError(InputError):
    """Something the gallery cannot do."""

    code = "gallery"
    summary = "The gallery cannot do that."
    default_hint = "docs/gallery.md lists every filter with its range."
    http_status = 422


class EntryMissingError(GalleryError):
    """No such entry, or somebody else's."""

    code = "gallery.missing"
    summary = "There is no such entry in the gallery."
    default_hint = "It may have been deleted or have expired."
    http_status = 404


class EntryFileMissingError(GalleryError):
    """An entry whose file is gone."""

    code = "gallery.file_missing"
    summary = "The entry's file is not in the gallery's folder any more."
    default_hint = "It was removed by something else than Safelight; its record is still there."
    http_status = 410
