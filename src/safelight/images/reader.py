"""Read a limited number of bytes from a path, a buffer or a file object."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from safelight.errors import (
    FileMissingError,
    ImageArrayError,
    ImageNotRecognisedError,
    ImageTooManyBytesError,
)


def read_bytes(source: object, max_bytes: int) -> bytes:
    """Read a path (str or PathLike), bytes-like object or binary file object.

    File objects are read from their current position, and at most one byte past the limit.

    Raises:
        FileMissingError: The path is not a readable regular file, or reading failed.
        ImageTooManyBytesError: There are more bytes than the limit.
        ImageNotRecognisedError: The file was opened in text mode.
        ImageArrayError: The source has an unsupported type.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        _check_size(memoryview(source).nbytes, max_bytes)
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return _read_path(source, max_bytes)
    if hasattr(source, "read"):
        return _read_file(source, max_bytes)
    raise ImageArrayError(
        f"{type(source).__name__} is no picture.",
        hint="Give a path, bytes, a binary file object, a PIL image or a numpy array.",
    )


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ImageTooManyBytesError(f"The picture has {size} bytes; the limit is {max_bytes}.")


def _read_path(source: str | os.PathLike[Any], max_bytes: int) -> bytes:
    try:
        path = Path(os.fsdecode(source))
        about = path.stat()
        # a pipe could block forever, and a device could be endless
        if not stat.S_ISREG(about.st_mode):
            raise FileMissingError(f"{path} is not a regular file.")
        _check_size(about.st_size, max_bytes)
        with path.open("rb") as file:
            return _read_file(file, max_bytes)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise FileMissingError(f"{source!s} cannot be read: {reason}.") from error


def _read_file(file: BinaryIO | Any, max_bytes: int) -> bytes:
    """Read until the end, since raw and network streams can return fewer bytes than requested."""
    blocks: list[bytes] = []
    left = max_bytes + 1
    while left > 0 and (block := _read_block(file, left)):
        blocks.append(block)
        left -= len(block)
    _check_size(max_bytes + 1 - left, max_bytes)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _read_block(file: BinaryIO | Any, size: int) -> bytes:
    try:
        block = file.read(size)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise FileMissingError(f"The file object cannot be read: {error}.") from error
    if isinstance(block, str):
        raise ImageNotRecognisedError("The file object gives text.", hint='Open it in binary mode, "rb".')
    return bytes(block or b"")
