"""What a scan is to look at: a folder, a glob, a file, or a Parquet table of paths or of picture bytes."""

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

from safelight.errors import (
    FileMissingError,
    ImageEmptyError,
    ImageFormatError,
    ImageNotRecognisedError,
    InputError,
)
from safelight.files import exists
from safelight.images import ImageSource
from safelight.images.sniff import sniff

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".hif"}
    # not opened, so that their lines are errors
    | {".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".psb", ".tga"}
)
"""Endings of pictures' names, in lower case."""
_PREFIX = 1024
_ARCHIVES = (
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",
)
"""How ZIP (also .cbz, .docx, .epub), gzip, bzip2, xz, 7-Zip, RAR and Zstandard begin."""
_TAR = slice(257, 262)
_PATH_COLUMNS = ("path", "file", "file_name", "filename")
_IMAGE_COLUMNS = ("image", "bytes", "content")


class Skip(StrEnum):
    """Why a file is not judged and has no line in the report: these are counted."""

    NOT_A_PICTURE = "not_a_picture"
    ARCHIVE = "archive"
    OTHER_NAME = "other_name"
    LINKED_FOLDER = "linked_folder"
    FOLDER = "folder"
    BROKEN_LINK = "broken_link"
    SPECIAL_FILE = "special_file"


Found = Iterator[tuple[Path, bool]]
"""Files, and whether each has to get a line whatever it is."""
Skipped = Callable[[str, Skip], None]
"""Called with the path of a file that is not judged, and the reason."""


def find_pictures(
    target: str, *, only_known: bool = False, skipped: Skipped = lambda _path, _why: None
) -> Iterator[tuple[str, ImageSource]]:
    """Pairs of a name and a source, in the same order on every run.

    In folders and globs, a file is given if its name ends like a picture's, or if its first bytes are those of a
    picture, video or document of any kind that is known, opened or not, or if they cannot be read. So whatever may
    show something gets its line in a report, if only an error; what is left out is told to ``skipped``. Hidden files
    count like others. Links to files are followed, links to folders are not.

    Args:
        target: A folder (searched to the bottom), a glob pattern (``**`` for any depth), a file, or a ``.parquet``
            file with a column ``path``, or a column ``image`` or ``bytes`` that holds files' contents.
        only_known: Go by names alone, and open nothing: fewer reads, for slow disks.
        skipped: Called for each file that is left out.

    Raises:
        FileMissingError: There is nothing there.
        InputError: A Parquet table without such a column.
    """
    path = Path(target)
    if exists(path) and path.is_dir():
        return _chosen(_walk(path), only_known, skipped)
    if path.suffix.lower() == ".parquet":
        return _rows(path)
    if exists(path):
        return iter([(target, path)])
    return _chosen(_glob(target, skipped), only_known, skipped)


def count_pictures(target: str, *, only_known: bool = False) -> int:
    """How many pictures ``find_pictures`` would give; of a table, without reading its cells."""
    if target.lower().endswith(".parquet") and exists(Path(target)):
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(target).metadata.num_rows)
    return sum(1 for _ in find_pictures(target, only_known=only_known))


def _walk(folder: Path) -> Found:
    """Every file and link below a folder, by name; a folder that cannot be listed has to get a line in its place."""
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


def _glob(pattern: str, skipped: Skipped) -> Found:
    """What matches a pattern, by name. pathlib's ``**`` follows no links, so that no circle of them is walked."""
    parts = Path(os.path.expanduser(pattern)).parts  # noqa: PTH111  Path's own raises for a user who is not there
    fixed = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    wild = [part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in parts[fixed:]]
    if wild and wild[-1] == "**":
        wild.append("*")
    try:
        found = sorted(set(Path(*parts[:fixed]).glob("/".join(wild)))) if wild else []
    except (OSError, ValueError):  # a name that cannot be one
        found = []
    if not found:
        raise FileMissingError(
            f"There is no folder, file or match for {pattern!r}.",
            hint="Give a folder, a pattern in quotes such as 'photos/**/*.jpg', or a .parquet file.",
        )
    return _files(found, skipped)


def _files(found: list[Path], skipped: Skipped) -> Found:
    for path in found:
        if path.is_dir() and path.suffix.lower() not in EXTENSIONS:
            skipped(str(path), Skip.LINKED_FOLDER if path.is_symlink() else Skip.FOLDER)
        else:
            yield path, False


def _chosen(found: Found, only_known: bool, skipped: Skipped) -> Iterator[tuple[str, ImageSource]]:
    for path, has_to in found:
        source = path if has_to else _source(path, only_known)
        if isinstance(source, Skip):
            skipped(str(path), source)
        else:
            yield str(path), source


def _source(path: Path, only_known: bool) -> ImageSource | Skip:
    """What is to be judged of a file, or why it is not; a file that cannot be read may be a picture, and is to be."""
    if path.suffix.lower() in EXTENSIONS:
        return path
    if only_known:
        return Skip.OTHER_NAME
    try:
        return _source_by_content(path)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return Skip.BROKEN_LINK if gone else path


def _source_by_content(path: Path) -> ImageSource | Skip:
    kind = path.stat().st_mode  # before it is opened: with some devices that alone does something
    if stat.S_ISDIR(kind):
        return Skip.LINKED_FOLDER
    if not stat.S_ISREG(kind):
        return Skip.SPECIAL_FILE
    # Should it have become a pipe meanwhile, opening must not wait for somebody to write.
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        head = file.read(_PREFIX) or b""
    try:
        sniff(head)
    except ImageFormatError:
        return (
            head  # known and not opened: enough for an error that names the format, of however long a video
        )
    except (ImageEmptyError, ImageNotRecognisedError):
        is_archive = head.startswith(_ARCHIVES) or head[_TAR] == b"ustar"
        return Skip.ARCHIVE if is_archive else Skip.NOT_A_PICTURE
    return path


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _rows(path: Path) -> Iterator[tuple[str, ImageSource]]:
    # Imported here: pyarrow takes a tenth of a second, and most scans never need it.
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
    return _read_rows(table, path, column)


def _read_rows(table: Any, path: Path, column: str) -> Iterator[tuple[str, ImageSource]]:
    row = 0
    for batch in table.iter_batches(batch_size=64, columns=[column]):
        for value in batch.column(0).to_pylist():
            yield _row_source(value, path, row)
            row += 1


def _row_source(value: Any, path: Path, row: int) -> tuple[str, ImageSource]:
    """A cell is a path, a file's bytes, or both in the struct that Hugging Face datasets write."""
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
