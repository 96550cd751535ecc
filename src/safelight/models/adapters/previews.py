"""Pictures that show what an adapter does: beside its file, where A1111 looks for them, or in the data directory."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safelight.atomic_write import atomic_write
from safelight.errors import AdapterPreviewMissingError, ImageTooManyBytesError, OutputError
from safelight.models.adapters.adapter_names import AdapterKind, NamedAdapter
from safelight.models.adapters.packaged import is_packaged

WRITTEN_SUFFIX = ".preview.png"
"""What is written, after the name of the adapter's file."""
SUFFIXES = (
    WRITTEN_SUFFIX,
    ".png",
    *(f"{part}.{kind}" for kind in ("jpg", "jpeg", "webp") for part in (".preview", "")),
)
"""What is shown, in this order."""


@dataclass(frozen=True)
class AdapterPreview:
    """A preview's file.

    Args:
        path: The file.
        version: What changes when the file does: 16 hexadecimal digits.
        is_set: Whether it was set with ``PreviewFolder.set`` or by A1111, so that it can be removed.
    """

    path: Path
    version: str
    is_set: bool

    def read(self, max_bytes: int) -> bytes:
        """The file.

        Raises:
            AdapterPreviewMissingError: It is not there any more, or is no file.
            ImageTooManyBytesError: It has more bytes.
        """
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size > max_bytes:
                    raise ImageTooManyBytesError(
                        f"The preview {self.path.name} has more than {max_bytes} bytes."
                    )
                return file.read(max_bytes + 1)
        except OSError as error:
            raise AdapterPreviewMissingError from error


class PreviewFolder:
    """Finds and sets previews.

    Each folder beside whose files there may be previews is listed once, so an object is for one request.

    Args:
        home: The data directory, whose ``previews/`` has those of adapters in folders that cannot be written to.
    """

    def __init__(self, home: Path) -> None:
        self._own = home / "previews"
        self._listings: dict[Path, dict[str, os.DirEntry[str]]] = {}

    def find(self, kind: AdapterKind, adapter: NamedAdapter) -> AdapterPreview | None:
        """An adapter's preview; None if it has none. What is in the data directory comes first.

        Args:
            kind: LoRA or embedding.
            adapter: The adapter.
        """
        if own := self._list(self._own):
            path = self._own_path(kind, adapter)
            if found := _describe(own.get(path.name), path, is_set=True):
                return found
        beside, stem = self._list(adapter.path.parent), adapter.path.stem
        for suffix in SUFFIXES:
            entry = beside.get(stem + suffix)
            if entry is None:
                continue
            is_set = suffix == WRITTEN_SUFFIX
            if found := _describe(entry, adapter.path.with_name(entry.name), is_set=is_set):
                return found
        return None

    def set(self, kind: AdapterKind, adapter: NamedAdapter, png: bytes) -> Path:
        """Write a preview beside an adapter's file, or where that cannot be written, in the data directory.

        Args:
            kind: LoRA or embedding.
            adapter: The adapter.
            png: A PNG file.

        Returns:
            The file.

        Raises:
            OutputError: Neither can be written.
        """
        beside, own = (
            adapter.path.with_name(adapter.path.stem + WRITTEN_SUFFIX),
            self._own_path(kind, adapter),
        )
        self._listings.clear()
        if os.access(beside.parent, os.W_OK) and not is_packaged(beside):
            with suppress(
                OutputError
            ):  # such as a full or vanished disk: there may be room in the data directory
                _write(beside, png)
                _delete(own)
                return beside
        _write(own, png)
        return own

    def remove(self, kind: AdapterKind, adapter: NamedAdapter) -> None:
        """Delete the preview that was set; pictures of other names beside the file stay.

        Raises:
            AdapterPreviewMissingError: None was set.
            OutputError: It cannot be deleted.
        """
        found = self.find(kind, adapter)
        if found is None or not found.is_set:
            raise AdapterPreviewMissingError
        self._listings.clear()
        _delete(found.path)

    def _own_path(self, kind: AdapterKind, adapter: NamedAdapter) -> Path:
        place = f"{kind}/{adapter.place}".encode(errors="surrogateescape")
        return self._own / f"{hashlib.sha256(place).hexdigest()[:32]}.png"

    def _list(self, folder: Path) -> dict[str, os.DirEntry[str]]:
        if folder not in self._listings:
            try:
                with os.scandir(folder) as entries:
                    self._listings[folder] = {each.name: each for each in entries}
            except OSError:
                self._listings[folder] = {}
        return self._listings[folder]


def _describe(entry: os.DirEntry[str] | None, path: Path, *, is_set: bool) -> AdapterPreview | None:
    """A preview; None if it is no file."""
    if entry is None:
        return None
    try:
        found = entry.stat()
    except OSError:  # deleted meanwhile, or a link to nowhere
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    text = f"{path} {found.st_size} {found.st_mtime_ns}".encode(errors="replace")
    return AdapterPreview(path, hashlib.sha256(text).hexdigest()[:16], is_set)


def _write(path: Path, png: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(png)


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path.name} cannot be deleted: {error.strerror or error}.") from error
