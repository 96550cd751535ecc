"""A cache of thumbnails with a limited number of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PIL import Image

from safelight.atomic_write import atomic_write
from safelight.errors import GalleryError, OutputError
from safelight.images import decode
from safelight.images.encoding import encode_image

MIN_SIDE, MAX_SIDE = 16, 1024
"""Limits of the longer side, in pixels. The API and the web UI use them."""
_FOLDERS = 256
_QUALITY = 80


class ThumbnailCache:
    """A cache of WebP files in subfolders of limited size, so that eviction lists only one subfolder.

    Args:
        folder: The cache's folder, which may be deleted at any time.
        max_files: Maximum number of files in total.
    """

    def __init__(self, folder: Path, max_files: int = 16384) -> None:
        self._folder, self._files_per_folder = folder, max(1, max_files // _FOLDERS)

    def get(self, entry_id: str, side: int, read: Callable[[], bytes]) -> bytes:
        """A picture's thumbnail, from the cache or newly made.

        Args:
            entry_id: The entry's id.
            side: Its longer side in pixels, 16 to 1024; smaller pictures keep their size.
            read: Returns the picture file.

        Returns:
            A WebP file.

        Raises:
            GalleryError: The side is out of range.
            ImageError: The picture cannot be decoded.
            OutputError: The thumbnail cannot be written.
        """
        if not MIN_SIDE <= side <= MAX_SIDE:
            raise GalleryError(f"A thumbnail's side is {MIN_SIDE} to {MAX_SIDE} pixels, not {side}.")
        if (cached := self.find(entry_id, side)) is not None:
            return cached
        path = self._path(entry_id, side)
        data = _make_thumbnail(read(), side)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        self._evict(path.parent)
        return data

    def find(self, entry_id: str, side: int) -> bytes | None:
        """A picture's thumbnail from the cache; None if it is not there."""
        try:
            return self._path(entry_id, side).read_bytes()
        except OSError:
            return None

    def delete(self, entry_id: str) -> None:
        """Delete the thumbnails of an entry.

        Raises:
            OutputError: One of them cannot be deleted.
        """
        for path in self._subfolder(entry_id).glob(f"{entry_id}-*.webp"):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{path.name} cannot be deleted: {error.strerror or error}.") from error

    def _path(self, entry_id: str, side: int) -> Path:
        return self._subfolder(entry_id) / f"{entry_id}-{side}.webp"

    def _subfolder(self, entry_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(entry_id.encode()).digest()[0] % _FOLDERS:02x}"

    def _evict(self, folder: Path) -> None:
        """Delete the oldest files beyond the limit; other processes may do the same at this moment."""
        with suppress(OSError):
            oldest = sorted(folder.glob("*.webp"), key=lambda path: path.stat().st_mtime)
            for path in oldest[: -self._files_per_folder]:
                path.unlink(missing_ok=True)


def scale_down(data: bytes, side: int) -> Image.Image:
    """A picture file's first frame, with at most so many pixels on its longer side.

    Raises:
        ImageError: It cannot be decoded.
    """
    image = decode(data, shrink_to=side).image
    scale = side / max(image.size)
    if scale < 1:
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), reducing_gap=2)
    return image


def _make_thumbnail(data: bytes, side: int) -> bytes:
    return encode_image(scale_down(data, side), "webp", quality=_QUALITY)
