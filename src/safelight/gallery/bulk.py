"""Changes of many entries at once. What fails for one entry is reported and does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Engine, RowMapping, delete, select, update

from safelight.database.engine import write_transaction
from safelight.database.upsert import insert_into
from safelight.errors import EntryMissingError, GalleryError, OutputError, SafelightError
from safelight.gallery.changes import GalleryChange, by_owner, record_change
from safelight.gallery.collections import check_collections
from safelight.gallery.entry import MAX_TAGS, Entry, Name, Tag
from safelight.gallery.entry_ids import is_entry_id
from safelight.gallery.mapping import ENTRY_QUERY, sanitize, tags_of, to_entries
from safelight.gallery.search import visible_to
from safelight.gallery.tables import collection_entries, collections, entries, tags

MAX_ENTRIES = 1000
"""Maximum number of entries that the API changes at once."""
_DELETE_BATCH = 50
"""Entries whose files are deleted in one transaction: SQLite has one writer, and others wait for it."""
FileRow = RowMapping
"""A row with the columns ``number``, ``id``, ``owner``, ``created`` and ``kind``."""
Value = TypeVar("Value")


class BulkChange(BaseModel):
    """A change of the user's marks on entries; fields that are left out change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    favourite: bool | None = Field(None, description="Kept whatever their age.")
    add_tags: Annotated[tuple[Tag, ...], Field(max_length=MAX_TAGS)] = Field((), description="Tags to add.")
    remove_tags: Annotated[tuple[Tag, ...], Field(max_length=MAX_TAGS)] = Field(
        (), description="Tags to remove; a tag that is also added stays."
    )
    add_to: Annotated[tuple[Name, ...], Field(max_length=MAX_TAGS)] = Field(
        (), description="Ids of collections to add them to."
    )
    remove_from: Annotated[tuple[Name, ...], Field(max_length=MAX_TAGS)] = Field(
        (), description="Ids of collections to remove them from."
    )


@dataclass(frozen=True)
class BulkResult:
    """What happened to one entry.

    Args:
        id: Its id, as it was given.
        owner: Its owner; None if it has none or is missing.
        entry: The changed entry; None if it was deleted or nothing was done.
        error: Why nothing was done.
    """

    id: str
    owner: str | None = None
    entry: Entry | None = None
    error: SafelightError | None = None


def mark_entries(
    engine: Engine, entry_ids: Collection[str], change: BulkChange, scope: str | None
) -> list[BulkResult]:
    """Change the marks on some entries in one transaction.

    Args:
        engine: The database.
        entry_ids: The entries' ids; repeated ones count once.
        change: The change.
        scope: The owner who requests it; None for all.

    Returns:
        A result for each entry, in the order of the ids.

    Raises:
        CollectionMissingError: A collection does not exist; nothing is changed.
    """
    with write_transaction(engine) as connection:
        check_collections(connection, {*change.add_to, *change.remove_from}, scope, lock=True)
        rows = _visible_rows(connection, entry_ids, scope, lock=True)
        refused = _too_many_tags(connection, [row["number"] for row in rows.values()], change)
        numbers = [row["number"] for row in rows.values() if row["number"] not in refused]
        _apply(connection, numbers, change)
        changed = connection.execute(ENTRY_QUERY.where(entries.c.number.in_(numbers))).mappings()
        by_id = {entry.id: entry for entry in to_entries(connection, changed, scope)}
        for owner, ids in by_owner((entry.id, entry.owner) for entry in by_id.values()).items():
            record_change(connection, GalleryChange(owner, changed=ids))
        _record_collections(connection, {*change.add_to, *change.remove_from})
    results = []
    for entry_id in dict.fromkeys(entry_ids):
        if entry := by_id.get(entry_id):
            results.append(BulkResult(entry_id, entry.owner, entry))
        elif row := rows.get(entry_id):
            results.append(BulkResult(entry_id, row["owner"], error=refused[row["number"]]))
        else:
            results.append(BulkResult(entry_id, error=EntryMissingError()))
    return results


def delete_entries(
    engine: Engine, entry_ids: Collection[str], delete_file: Callable[[FileRow], None], scope: str | None
) -> list[BulkResult]:
    """Delete some entries, several in a transaction.

    Args:
        engine: The database.
        entry_ids: The entries' ids; repeated ones count once.
        delete_file: Deletes the files of an entry. If it raises an OutputError, the entry is kept.
        scope: The owner who requests it; None for all.

    Returns:
        A result for each entry, in the order of the ids.
    """
    results: list[BulkResult] = []
    unique = list(dict.fromkeys(entry_ids))
    for start in range(0, len(unique), _DELETE_BATCH):
        batch = unique[start : start + _DELETE_BATCH]
        with write_transaction(engine) as connection:
            rows = _visible_rows(connection, batch, scope)
            outcomes = [_delete_files(entry_id, rows.get(entry_id), delete_file) for entry_id in batch]
            deleted = [rows[each.id]["number"] for each in outcomes if each.error is None]
            connection.execute(delete(entries).where(entries.c.number.in_(deleted)))
            gone = by_owner((each.id, each.owner) for each in outcomes if each.error is None)
            for owner, ids in gone.items():
                record_change(connection, GalleryChange(owner, deleted=ids))
        results += outcomes
    return results


def _record_collections(connection: Connection, collection_ids: Collection[str]) -> None:
    """Record that other entries are in some collections."""
    owners = select(collections.c.owner).where(collections.c.id.in_(collection_ids)).distinct()
    for owner in connection.execute(owners).scalars():
        record_change(connection, GalleryChange(owner, collections=True))


def _delete_files(entry_id: str, row: FileRow | None, delete_file: Callable[[FileRow], None]) -> BulkResult:
    if row is None:
        return BulkResult(entry_id, error=EntryMissingError())
    try:
        delete_file(row)
    except OutputError as error:
        return BulkResult(entry_id, row["owner"], error=error)
    return BulkResult(entry_id, row["owner"])


def _visible_rows(
    connection: Connection, entry_ids: Collection[str], scope: str | None, *, lock: bool = False
) -> dict[str, FileRow]:
    """The rows of those entries that exist and that the viewer may see, by id.

    Args:
        connection: A connection to read with.
        entry_ids: The entries' ids.
        scope: The owner who requests them; None for all.
        lock: Whether nobody may delete them until the transaction ends.
    """
    query = select(entries.c.number, entries.c.id, entries.c.owner, entries.c.created, entries.c.kind)
    valid = [entry_id for entry_id in entry_ids if is_entry_id(entry_id)]
    query = query.where(entries.c.id.in_(valid), visible_to(scope))
    if lock:
        query = query.with_for_update(read=True, key_share=True)
    rows = connection.execute(query).mappings()
    return {row["id"]: row for row in rows}


def _too_many_tags(
    connection: Connection, numbers: Sequence[int], change: BulkChange
) -> Mapping[int, SafelightError]:
    """The entries that would have too many tags, by number."""
    if not change.add_tags:
        return {}
    added = {*map(sanitize, change.add_tags)}
    removed = {*map(sanitize, change.remove_tags)}
    return {
        number: GalleryError(f"An entry has at most {MAX_TAGS} tags.")
        for number, found in tags_of(connection, numbers).items()
        if len({*found} - removed | added) > MAX_TAGS
    }


def _apply(connection: Connection, numbers: Sequence[int], change: BulkChange) -> None:
    if change.favourite is not None:
        marks = update(entries).where(entries.c.number.in_(numbers))
        connection.execute(marks.values(favourite=change.favourite))
    if change.remove_tags:
        unwanted = tags.c.tag.in_([sanitize(tag) for tag in change.remove_tags])
        connection.execute(delete(tags).where(tags.c.number.in_(numbers), unwanted))
    if rows := [{"number": number, "tag": sanitize(tag)} for number, tag in _pairs(numbers, change.add_tags)]:
        connection.execute(insert_into(connection, tags).on_conflict_do_nothing(), rows)
    if change.remove_from:
        left = collection_entries.c.collection_id.in_(change.remove_from)
        connection.execute(delete(collection_entries).where(collection_entries.c.number.in_(numbers), left))
    if members := [
        {"number": number, "collection_id": collection_id}
        for number, collection_id in _pairs(numbers, change.add_to)
    ]:
        connection.execute(insert_into(connection, collection_entries).on_conflict_do_nothing(), members)


def _pairs(numbers: Sequence[int], values: Collection[Value]) -> Iterator[tuple[int, Value]]:
    return ((number, value) for number in numbers for value in dict.fromkeys(values))
