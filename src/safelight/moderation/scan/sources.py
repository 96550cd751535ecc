"""The sources of a scan's images: a folder, a glob, a file, or a Parquet table of paths or of image bytes."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from safelight.atomic_write import path_exists
from safelight.errors import (
    FileMissingError,
    ImageEmptyError,
    ImageFormatError,
    ImageNotRecognisedError,
    InputError,
)
from safelight.images import ImageSource
from safelight.images.sniff import detect_format

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".hif"}
    # formats that cannot be decoded: their rows in the report are errors
    | {".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".psb", ".tga"}
)
"""File name extensions of images, in lower case."""
_HEAD_BYTES = 1024
_ARCHIVE_MAGIC = (
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",
)
"""First bytes of ZIP (also .cbz, .docx, .epub), gzip, bzip2, xz, 7-Zip, RAR and Zstandard files."""
_TAR_MAGIC = slice(257, 262)
_PATH_COLUMNS = ("path", "file", "file_name", "filename")
_IMAGE_COLUMNS = ("image", "bytes", "content")


class SkipReason(StrEnum):
    """Why a file is skipped: it is not classified and has no row in the report, but it is counted."""

    NOT_A_PICTURE = "not_a_picture"
    ARCHIVE = "archive"
    OTHER_NAME = "other_name"
    LINKED_FOLDER = "linked_folder"
    FOLDER = "folder"
    BROKEN_LINK = "broken_link"
    SPECIAL_FILE = "special_file"


CandidateFiles = Iterator[tuple[Path, bool]]
"""Files, each with whether it gets a row in the report whatever its content."""
SkipCallback = Callable[[str, SkipReason], None]
"""Called with the path of a skipped file and the reason."""


def find_images(
    target: str, *, only_known: bool = False, on_skip: SkipCallback = lambda _path, _why: None
) -> Iterator[tuple[str, ImageSource]]:
    """Yield pairs of a name and an image source, in the same order on every run.

    In folders and globs, a file is included if it has an image's extension, or if its first bytes are those of any
    known image, video or document format, supported or not, or if it cannot be read. So everything that may show
    something gets a row in the report, even if only an error; ``on_skip`` is called for the rest. Hidden files are
    included. Links to files are followed, links to folders are not.

    Args:
        target: A folder (searched recursively), a glob pattern (``**`` for any depth), a file, or a ``.parquet`` file
            with a column ``path``, or a column ``image`` or ``bytes`` that contains the files' bytes.
        only_known: Decide by extensions alone and open no file: fewer reads, for slow disks.
        on_skip: Called for each skipped file.

    Raises:
        FileMissingError: The target does not exist or matches nothing.
        InputError: The Parquet table has no such column.
    """
    path = Path(target)
    if path_exists(path) and path.is_dir():
        return _select_images(_walk(path), only_known, on_skip)
    if path.suffix.lower() == ".parquet":
        return _parquet_images(path)
    if path_exists(path):
        return iter([(target, path)])
    return _select_images(_glob(target, on_skip), only_known, on_skip)


def count_images(target: str, *, only_known: bool = False) -> int:
    """Return how many images ``find_images`` would yield; the cells of a table are not read."""
    if target.lower().endswith(".parquet") and path_exists(Path(target)):
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(target).metadata.num_rows)
    return sum(1 for _ in find_images(target, only_known=only_known))


def _walk(folder: Path) -> CandidateFiles:
    """Yield every file and link below a folder, sorted by name; a folder that cannot be listed gets a row itself."""
    pending = [(str(folder), True)]
    while pending:
        path, is_folder = pending.pop()
        if not is_folder:
            yield Path(path), False
            continue
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name, reverse=True)
            pending += [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in found]
        except OSError:
            yield Path(path), True


def _glob(pattern: str, on_skip: SkipCallback) -> CandidateFiles:
    """Yield the matches of a pattern, sorted by name. pathlib's ``**`` follows no links, so there are no cycles."""
    parts = Path(os.path.expanduser(pattern)).parts  # noqa: PTH111  Path.expanduser raises for an unknown user
    fixed = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    wild = [part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in parts[fixed:]]
    if wild and wild[-1] == "**":
        wild.append("*")
    try:
        found = sorted(set(Path(*parts[:fixed]).glob("/".join(wild)))) if wild else []
    except (OSError, ValueError):  # not a valid file name
        found = []
    if not found:
        raise FileMissingError(
            f"There is no folder, file or match for {pattern!r}.",
            hint="Give a folder, a pattern in quotes such as 'photos/**/*.jpg', or a .parquet file.",
        )
    return _filter_folders(found, on_skip)


def _filter_folders(paths: list[Path], on_skip: SkipCallback) -> CandidateFiles:
    for path in paths:
        if path.is_dir() and path.suffix.lower() not in EXTENSIONS:
            on_skip(str(path), SkipReason.LINKED_FOLDER if path.is_symlink() else SkipReason.FOLDER)
        else:
            yield path, False


def _select_images(
    candidates: CandidateFiles, only_known: bool, on_skip: SkipCallback
) -> Iterator[tuple[str, ImageSource]]:
    for path, has_to in candidates:
        source = path if has_to else _source_of_file(path, only_known)
        if isinstance(source, SkipReason):
            on_skip(str(path), source)
        else:
            yield str(path), source


def _source_of_file(path: Path, only_known: bool) -> ImageSource | SkipReason:
    """Return a file's image source, or why it is skipped; an unreadable file may be an image, so it is included."""
    if path.suffix.lower() in EXTENSIONS:
        return path
    if only_known:
        return SkipReason.OTHER_NAME
    try:
        return _source_by_content(path)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return SkipReason.BROKEN_LINK if gone else path


def _source_by_content(path: Path) -> ImageSource | SkipReason:
    kind = path.stat().st_mode  # before it is opened: opening some devices has side effects
    if stat.S_ISDIR(kind):
        return SkipReason.LINKED_FOLDER
    if not stat.S_ISREG(kind):
        return SkipReason.SPECIAL_FILE
    # If it has become a pipe meanwhile, opening must not block until there is a writer.
    with open(path, "rb", buffering=0, opener=_open_nonblocking) as file:
        head = file.read(_HEAD_BYTES) or b""
    try:
        detect_format(head)
    except ImageFormatError:
        return head  # a known but unsupported format: its first bytes suffice for an error that names it
    except (ImageEmptyError, ImageNotRecognisedError):
        is_archive = head.startswith(_ARCHIVE_MAGIC) or head[_TAR_MAGIC] == b"ustar"
        return SkipReason.ARCHIVE if is_archive else SkipReason.NOT_A_PICTURE
    return path


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _parquet_images(path: Path) -> Iterator[tuple[str, ImageSource]]:
    # Imported here: importing pyarrow takes a tenth of a second, and most scans do not need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise FileMissingError(f"There is no file {str(path)!r}.") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} is not a Parquet file: {error}.") from error
    names = set(table.schema_arrow.names)
    column = next((name for name in (*_IMAGE_COLUMNS, *_PATH_COLUMNS) if name in names), None)
    if column is None:
        raise InputError(
            f"{path} has no column of pictures: it has {', '.join(sorted(names))}.",
            hint="Name a column 'path' (paths) or 'image' (the files' contents).",
        )
    return _parquet_rows(table, path, column)


def _parquet_rows(table: Any, path: Path, column: str) -> Iterator[tuple[str, ImageSource]]:
    row = 0
    for batch in table.iter_batches(batch_size=64, columns=[column]):
        for value in batch.column(0).to_pylist():
            yield _row_source(value, path, row)
            row += 1


def _row_source(value: Any, path: Path, row: int) -> tuple[str, ImageSource]:
    """Return the source in a cell: a path, a file's bytes, or a struct of both as Hugging Face datasets write it."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, str):
        return data, path.parent / data
    if isinstance(value, dict) and data is None and value.get("path"):
        return str(value["path"]), path.parent / str(value["path"])
    if not isinstance(data, bytes | None):
        raise InputError(
            f"Row {row} of {path} holds no picture in its column image but {data!r}.",
            hint="The column path holds text; the columns image, bytes and content hold files' contents.",
        )
    return f"{path}#{row}", data or b""
