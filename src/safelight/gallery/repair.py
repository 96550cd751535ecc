"""Repair of differences between files and rows after a crash, a restored backup or manual changes to the folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import PurePosixPath
from typing import TypeVar

from sqlalchemy import Engine, RowMapping, select, update

from safelight.database.engine import read_transaction, write_transaction
from safelight.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseOpenError,
    EntryFileMissingError,
    StorageFullError,
)
from safelight.gallery.entry import relative_path
from safelight.gallery.entry_ids import key_of
from safelight.gallery.files import ImageFolder
from safelight.gallery.import_metadata import entry_from_file
from safelight.gallery.mapping import detect_file_format, insert_entry
from safelight.gallery.tables import entries, keys
from safelight.logs import get_logger

_BATCH = 500
_COLUMNS = (entries.c.number, entries.c.id, entries.c.created, entries.c.kind, entries.c.missing)
Item = TypeVar("Item")


@dataclass(frozen=True)
class RepairReport:
    """What was found and repaired.

    Args:
        adopted: Files without an entry that got one, from their metadata.
        removed: Abandoned temporary files, and files of an earlier attempt of a job that has its entry.
        missing: Entries whose file has been lost; they are marked as missing.
        restored: Entries whose file exists again.
        unrecognized: Files that are named like entries but are not the pictures of these names, or cannot be read or
            deleted. They are kept, since somebody put them there.
    """

    adopted: int = 0
    removed: int = 0
    missing: int = 0
    restored: int = 0
    unrecognized: int = 0


def repair(engine: Engine, folder: ImageFolder, older_than: timedelta, now: float) -> RepairReport:
    """Compare every file with every row. Other processes may add and delete entries meanwhile.

    Args:
        engine: The database.
        folder: The picture files.
        older_than: Younger temporary files are being written.
        now: Seconds since 1970.

    Raises:
        DatabaseError: The database cannot be used; the rest can be repaired later.
    """
    outcomes: Counter[str] = Counter(removed=folder.delete_abandoned(older_than, now))
    for paths in _batches(folder.iter_paths()):
        rows = _rows_of(engine, paths)
        for path in paths:
            outcomes[_repair_file(engine, folder, path, rows.get(key_of(path.stem)))] += 1
    missing, restored = _compare_rows(engine, folder)
    if strange := outcomes["strange"]:
        get_logger(__name__).warning(
            "files in the gallery's folder are no pictures of it; left alone", files=strange
        )
    return RepairReport(outcomes["adopted"], outcomes["removed"], missing, restored, strange)


def _repair_file(engine: Engine, folder: ImageFolder, path: PurePosixPath, row: RowMapping | None) -> str:
    """Check and repair one file; an error with it does not affect the others.

    Returns:
        adopted, removed, strange, or kept if nothing was changed.

    Raises:
        DatabaseError: The database cannot be used.
    """
    try:
        if row is None:
            return _adopt_file(engine, folder, path)
        if _path_of_row(row) != path and folder.exists(_path_of_row(row)):
            folder.remove(path)
            return "removed"
    except (DatabaseBusyError, DatabaseDamagedError, DatabaseOpenError, StorageFullError):
        raise
    except Exception:  # noqa: BLE001  a file may raise anything, and it is kept
        return "strange"
    return "kept"


def _adopt_file(engine: Engine, folder: ImageFolder, path: PurePosixPath) -> str:
    """Add an entry for a file that matches its name, unless another process adds or deletes it at this moment."""
    try:
        data = folder.read(path)
    except EntryFileMissingError:
        return "strange" if folder.exists(path) else "kept"
    new = entry_from_file(path.stem, data)
    if relative_path(path.stem, new.created, detect_file_format(data)) != path:
        return "strange"
    with write_transaction(engine) as connection:
        insert_entry(connection, path.stem, new)
    return "adopted"


def _rows_of(engine: Engine, paths: Iterable[PurePosixPath]) -> dict[str, RowMapping]:
    """The rows of the pictures in some files, by key, whatever times the file names contain."""
    named = [key_of(path.stem) for path in paths]
    with read_transaction(engine) as connection:
        found = connection.execute(select(*_COLUMNS).where(keys.in_(named)))
        return {key_of(row["id"]): row for row in found.mappings()}


def _compare_rows(engine: Engine, folder: ImageFolder) -> tuple[int, int]:
    """Mark the entries whose files are missing, and unmark those whose files exist again."""
    changed = {True: 0, False: 0}
    for rows in _batches(_all_rows(engine)):
        for missing in (True, False):
            numbers = [
                row["number"]
                for row in rows
                if row["missing"] is not missing and folder.exists(_path_of_row(row)) is not missing
            ]
            if numbers:
                with write_transaction(engine) as connection:
                    connection.execute(
                        update(entries).where(entries.c.number.in_(numbers)).values(missing=missing)
                    )
                changed[missing] += len(numbers)
    return changed[True], changed[False]


def _all_rows(engine: Engine) -> Iterator[RowMapping]:
    """The rows of all entries that have, or had, a file."""
    last = 0
    while True:
        query = select(*_COLUMNS).where(entries.c.number > last, entries.c.kind.is_not(None))
        with read_transaction(engine) as connection:
            rows = connection.execute(query.order_by(entries.c.number).limit(_BATCH)).mappings().all()
        if not rows:
            return
        yield from rows
        last = rows[-1]["number"]


def _path_of_row(row: RowMapping) -> PurePosixPath:
    return relative_path(row["id"], row["created"], row["kind"])


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
