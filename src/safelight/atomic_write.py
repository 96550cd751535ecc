"""Write files atomically, and take their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from safelight.errors import OutputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file atomically: yields a temporary path, which replaces the file when the block succeeds.

    If the block fails, the temporary file is removed.

    Args:
        path: The file; its folder is created if it is missing.

    Raises:
        OutputError: The file cannot be written.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk, so that a file that was replaced in it survives a loss of power.

    Of use only after the file itself was synced, as ``atomic_write`` does not: most files can be written again.

    Raises:
        OSError: The folder cannot be opened or synced.
    """
    if os.name == "nt":  # which opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_path(path: Path) -> Path:
    """A unique name for a temporary file in the same folder."""
    return path.with_name(f".{path.name[:100]}.{uuid4().hex}.tmp")


def sha256_of(path: Path) -> str:
    """A file's SHA-256, in hexadecimal; ``models.digests`` remembers those of weights.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_exists(path: Path) -> bool:
    """Whether a path exists; False for names that the file system does not allow."""
    try:
        return path.exists()
    except OSError:  # for example, the name is too long
        return False
