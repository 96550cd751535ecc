"""What a scan is to look at: a folder, a glob, a file, or a Parquet table of paths or of picture bytes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safelight.errors import FileMissingError, InputError
from safelight.files import exists
from safelight.images import ImageSource, is_picture

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".heic", ".heif"}
)
_PREFIX = 64
_PATH_COLUMNS = ("path", "file", "file_name", "filename")
_IMAGE_COLUMNS = ("image", "bytes", "content")


def find_pictures(target: str) -> Iterator[tuple[str, ImageSource]]:
    """Pairs of a name and a source, in the same order on every run.

    In folders, every file counts whose name or whose first bytes are those of a picture, so that neither a
    damaged ``.jpg`` nor a picture named ``.txt`` goes unseen. Links to folders are not followed.

    Args:
        target: A folder (searched to the bottom), a glob pattern (``**`` for any depth), a file, or a ``.parquet``
            file with a column ``path``, or a column ``image`` or ``bytes`` that holds files' contents.

    Raises:
        FileMissingError: There is nothing there.
        InputError: A Parquet table without such a column.
    """
    path = Path(target)
    if exists(path) and path.is_dir():
        return ((str(file), file) for file in _walk(path))
    if path.suffix.lower() == ".parquet":
        return _rows(path)
    if exists(path):
        return iter([(target, path)])
    return _glob(target)


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder  # it cannot be decoded, so it gets its line in the report, and the scan goes on
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif _is_candidate(entry):
            yield Path(entry.path)


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    """Whatever is named like a picture counts, broken links and loops too: they get their line in the report."""
    path = Path(entry.path)
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        return entry.is_file() and looks_like_picture(path)
    except OSError:
        return False


def count_pictures(target: str) -> int:
    """How many pictures ``find_pictures`` would give; of a table, without reading its cells."""
    if target.lower().endswith(".parquet") and exists(Path(target)):
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(target).metadata.num_rows)
    return sum(1 for _ in find_pictures(target))


def looks_like_picture(path: Path) -> bool:
    """Whether a file's extension or its first bytes are a picture's; an unreadable one counts by extension."""
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        with path.open("rb") as file:
            return is_picture(file.read(_PREFIX))
    except OSError:
        return False


def _glob(pattern: str) -> Iterator[tuple[str, ImageSource]]:
    found = sorted(
        Path(name)
        for name in glob.iglob(os.path.expanduser(pattern), recursive=True, include_hidden=True)  # noqa: PTH111, PTH207
    )
    if not found:
        raise FileMissingError(
            f"There is no folder, file or match for {pattern!r}.",
            hint="Give a folder, a pattern in quotes such as 'photos/**/*.jpg', or a .parquet file.",
        )
    return ((str(path), path) for path in found if path.is_file() and looks_like_picture(path))


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
