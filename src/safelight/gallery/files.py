"""The gallery's folder: a file for each picture, written atomically and named after its entry."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath

from safelight.atomic_write import temporary_path
from safelight.errors import EntryFileMissingError, OutputError, SafelightError, StorageFullError
from safelight.file_permissions import create_private_folder, private_opener
from safelight.gallery.entry_ids import is_entry_id

MoveToPath = Callable[[PurePosixPath], None]


class ImageFolder:
    """The picture files.

    Args:
        root: The folder; created with the first picture.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._staging = root, root / "coming"

    @contextmanager
    def staged(self, data: bytes | None) -> Iterator[MoveToPath]:
        """Write a temporary file; the yielded function moves it to its path.

        Args:
            data: The file's content; None for no file, and then the function does nothing.

        Raises:
            StorageFullError, OutputError: It cannot be written.
        """
        if data is None:
            yield lambda _: None
            return
        temporary = temporary_path(self._staging / "picture")
        try:
            with _translate_write_errors(self._staging):
                create_private_folder(self._staging)
                _write(temporary, data)
            yield lambda path: self._move(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def read(self, path: PurePosixPath) -> bytes:
        """The content of a file.

        Raises:
            EntryFileMissingError: The file does not exist, or cannot be read.
        """
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise EntryFileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error

    def exists(self, path: PurePosixPath) -> bool:
        """Whether a file exists and is accessible."""
        try:
            return (self._root / path).is_file()
        except OSError:
            return False

    def remove(self, path: PurePosixPath) -> None:
        """Delete a file, if it exists.

        Raises:
            OutputError: The file cannot be deleted.
        """
        try:
            (self._root / path).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be deleted: {error.strerror or error}.") from error

    def iter_paths(self) -> Iterator[PurePosixPath]:
        """The files that are named like entries, from the oldest day."""
        for path in sorted(self._root.glob("[0-9]*/[0-9]*/[0-9]*/*.*")):
            relative = PurePosixPath(path.relative_to(self._root).as_posix())
            if is_entry_id(path.stem) and self.exists(relative):
                yield relative

    def delete_abandoned(self, older_than: timedelta, now: float) -> int:
        """Delete temporary files that a crash left behind.

        Args:
            older_than: Minimum age.
            now: Seconds since 1970.

        Returns:
            The number of deleted files.
        """
        deleted = 0
        for path in self._staging.glob(".*.tmp"):
            with suppress(OSError):  # finished or cleared by another process meanwhile
                if now - path.stat().st_mtime >= older_than.total_seconds():
                    path.unlink()
                    deleted += 1
        return deleted

    def _move(self, temporary: Path, path: PurePosixPath) -> None:
        target = self._root / path
        with _translate_write_errors(target):
            create_private_folder(target.parent)
            temporary.replace(target)


def _write(path: Path, data: bytes) -> None:
    """Write a file that will be complete even after a power failure."""
    with open(path, "xb", opener=private_opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _translate_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error_class: type[SafelightError] = (
            StorageFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else OutputError
        )
        raise error_class(f"{path} cannot be written: {error.strerror or error}.") from error
