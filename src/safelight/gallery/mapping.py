"""Conversion between entries and rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, delete, insert, select

from safelight.database.upsert import insert_into
from safelight.errors import GalleryError
from safelight.file_formats import SUFFIXES, FileFormat
from safelight.gallery.embeddings import insert_embedding
from safelight.gallery.entry import Entry, NewEntry, Relation
from safelight.gallery.full_text import full_text_index
from safelight.gallery.tables import collection_entries, collections, details, entries, entry_adapters, tags
from safelight.images.sniff import detect_format
from safelight.moderation.policy import Decision

_FORMATS: Mapping[str, FileFormat] = {kind.upper(): kind for kind in SUFFIXES}
ENTRY_QUERY = select(*entries.c, *(column for column in details.c if column.name != "number")).join_from(
    entries, details
)
"""The query of entries with all their columns."""
_OTHER_COLUMNS = ("number", "sort_key", "chosen")
"""Columns of rows that are no fields of entries."""


def to_entries(
    connection: Connection, rows: Iterable[RowMapping], scope: str | None = None
) -> tuple[Entry, ...]:
    """The entries of some rows of ``ENTRY_QUERY``.

    Args:
        connection: A connection to read with.
        rows: The rows.
        scope: The owner whose collections to name; None for all.
    """
    rows = tuple(rows)
    numbers = [row["number"] for row in rows]
    tags_by_number = tags_of(connection, numbers)
    collections_by_number = _collections_of(connection, numbers, scope)
    return tuple(
        _to_entry(row, tags_by_number[row["number"]], collections_by_number[row["number"]]) for row in rows
    )


def tags_of(connection: Connection, numbers: Sequence[int]) -> Mapping[int, list[str]]:
    """The tags of some entries, sorted, by number."""
    query = select(tags.c.number, tags.c.tag).where(tags.c.number.in_(numbers)).order_by(tags.c.tag)
    return _by_number(connection, query, numbers)


def _collections_of(
    connection: Connection, numbers: Sequence[int], scope: str | None
) -> Mapping[int, list[str]]:
    query = (
        select(collection_entries.c.number, collection_entries.c.collection_id)
        .join_from(collection_entries, collections)
        .where(collection_entries.c.number.in_(numbers))
        .order_by(collections.c.name, collections.c.id)
    )
    if scope is not None:
        query = query.where(collections.c.owner == sanitize(scope))
    return _by_number(connection, query, numbers)


def _by_number(connection: Connection, query: Select[Any], numbers: Sequence[int]) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {number: [] for number in numbers}
    for number, text in connection.execute(query):
        found[number].append(text)
    return found


def insert_entry(connection: Connection, entry_id: str, new: NewEntry) -> Entry | None:
    """Insert an entry's rows.

    Args:
        connection: A writing transaction.
        entry_id: The entry's id.
        new: The new entry.

    Returns:
        None if another process added the same picture first.
    """
    insertion = insert_into(connection, entries).on_conflict_do_nothing().returning(entries.c.number)
    values = _entry_values(entry_id, new) | {"parent_id": _lock_parent(connection, new.parent_id)}
    number = connection.execute(insertion, values).scalar()
    if number is None:
        return None
    detail_values = _detail_values(new)
    connection.execute(insert(details), detail_values | {"number": number})
    full_text_index(connection).add(
        connection,
        number,
        detail_values["prompt"],
        detail_values["negative_prompt"],
        detail_values["infotext"] or "",
    )
    replace_tags(connection, number, new.tags)
    if new.adapters:
        rows = [{"digest": digest, "number": number} for digest in dict.fromkeys(new.adapters)]
        connection.execute(insert(entry_adapters), rows)
    if new.embedding is not None:
        insert_embedding(connection, number, new.embedding)
    return to_entries(connection, [get_row(connection, number)])[0]


def get_row(connection: Connection, number: int) -> RowMapping:
    """The row of ``ENTRY_QUERY`` with a number, which must exist."""
    return connection.execute(ENTRY_QUERY.where(entries.c.number == number)).mappings().one()


def replace_tags(connection: Connection, number: int, new_tags: Iterable[str]) -> None:
    """Replace an entry's tags."""
    connection.execute(delete(tags).where(tags.c.number == number))
    if rows := [{"number": number, "tag": tag} for tag in sorted({sanitize(tag) for tag in new_tags})]:
        connection.execute(insert(tags), rows)


def detect_file_format(data: bytes) -> FileFormat:
    """The format of a picture file.

    Raises:
        GalleryError: The gallery does not store this format.
        ImageError: The file is no picture.
    """
    if (kind := _FORMATS.get(name := detect_format(data))) is None:
        raise GalleryError(f"The gallery keeps PNG, JPEG and WebP, not {name}.")
    return kind


def sanitize(text: str) -> str:
    """A text that both databases can store: characters that they reject are replaced, so that no record is lost."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _lock_parent(connection: Connection, parent_id: str | None) -> str | None:
    """The id of a new entry's parent, which is not deleted until the transaction ends; None if it was deleted."""
    if parent_id is None:
        return None
    query = select(entries.c.id).where(entries.c.id == parent_id).with_for_update(read=True, key_share=True)
    return connection.execute(query).scalar()


def _entry_values(entry_id: str, new: NewEntry) -> dict[str, object]:
    data = new.data
    return {
        "id": entry_id,
        "job_id": _sanitize_optional(new.job_id),
        "index": new.index,
        "owner": _sanitize_optional(new.owner),
        "created": new.created,
        "width": new.width,
        "height": new.height,
        "decision": new.decision.value,
        "unsafe": new.unsafe,
        "mode": _sanitize_optional(new.mode),
        "seed": new.seed,
        "steps": new.steps,
        "sampler": _sanitize_optional(new.sampler),
        "checkpoint": _sanitize_optional(new.checkpoint),
        "family": _sanitize_optional(new.family),
        "kind": None if data is None else detect_file_format(data),
        "size": len(data or b""),
        "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        "missing": False,
        "favourite": new.favourite,
        "relation": new.relation,
    }


def _detail_values(new: NewEntry) -> dict[str, Any]:
    return {
        "prompt": sanitize(new.prompt),
        "negative_prompt": sanitize(new.negative_prompt),
        "infotext": _sanitize_optional(new.infotext),
        "record": _sanitize_optional(new.record),
        "checkpoint_digest": _sanitize_optional(new.checkpoint_digest),
        "policy": _sanitize_optional(new.policy),
        "scores": json.dumps(dict(new.scores)),
    }


def _sanitize_optional(text: str | None) -> str | None:
    return None if text is None else sanitize(text)


def _to_entry(row: RowMapping, entry_tags: Iterable[str], entry_collections: Iterable[str]) -> Entry:
    fields = {name: value for name, value in row.items() if name not in _OTHER_COLUMNS}
    fields |= {
        "decision": Decision(row["decision"]),
        "relation": None if row["relation"] is None else Relation(row["relation"]),
        "scores": json.loads(row["scores"]),
        "tags": tuple(entry_tags),
        "collections": tuple(entry_collections),
    }
    return Entry(**fields)
