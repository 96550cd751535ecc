"""Conversion between entries and rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select

from safelight.database.upsert import insert_into
from safelight.errors import GalleryError
from safelight.file_formats import SUFFIXES, FileFormat
from safelight.gallery.embeddings import put_embedding
from safelight.gallery.entry import Entry, NewEntry
from safelight.gallery.full_text import words_in
from safelight.gallery.tables import details, entries, tags
from safelight.images.sniff import detect_format
from safelight.moderation.policy import Decision

_KINDS: Mapping[str, FileFormat] = {kind.upper(): kind for kind in SUFFIXES}
SHOWN = select(*entries.c, *(column for column in details.c if column.name != "number")).join_from(
    entries, details
)
"""The query of entries with all their columns."""


def entries_of(connection: Connection, rows: Iterable[RowMapping]) -> tuple[Entry, ...]:
    """The entries of some rows of ``SHOWN``."""
    rows = tuple(rows)
    numbers = [row["number"] for row in rows]
    tags_by_number: dict[int, list[str]] = {number: [] for number in numbers}
    for number, tag in connection.execute(
        select(tags.c.number, tags.c.tag).where(tags.c.number.in_(numbers)).order_by(tags.c.tag)
    ):
        tags_by_number[number].append(tag)
    return tuple(_entry(row, tags_by_number[row["number"]]) for row in rows)


def enter(connection: Connection, name: str, new: NewEntry) -> Entry | None:
    """Insert an entry's rows.

    Args:
        connection: A writing transaction.
        name: The entry's id.
        new: The new entry.

    Returns:
        None if another process added the same picture first.
    """
    insertion = insert_into(connection, entries).on_conflict_do_nothing().returning(entries.c.number)
    number = connection.execute(insertion, _row(name, new)).scalar()
    if number is None:
        return None
    detail_values = _detail(new)
    connection.execute(insert(details), detail_values | {"number": number})
    words_in(connection).put(
        connection,
        number,
        detail_values["prompt"],
        detail_values["negative_prompt"],
        detail_values["infotext"] or "",
    )
    put_tags(connection, number, new.tags)
    if new.embedding is not None:
        put_embedding(connection, number, new.embedding)
    return entries_of(connection, [the_row(connection, number)])[0]


def the_row(connection: Connection, number: int) -> RowMapping:
    """The row of ``SHOWN`` with a number, which must exist."""
    return connection.execute(SHOWN.where(entries.c.number == number)).mappings().one()


def put_tags(connection: Connection, number: int, words: Iterable[str]) -> None:
    """Replace an entry's tags."""
    connection.execute(delete(tags).where(tags.c.number == number))
    if rows := [{"number": number, "tag": tag} for tag in sorted({storable(tag) for tag in words})]:
        connection.execute(insert(tags), rows)


def kind_of(data: bytes) -> FileFormat:
    """The format of a picture file.

    Raises:
        GalleryError: The gallery does not store this format.
        ImageError: The file is no picture.
    """
    if (kind := _KINDS.get(name := detect_format(data))) is None:
        raise GalleryError(f"The gallery keeps PNG, JPEG and WebP, not {name}.")
    return kind


def storable(words: str) -> str:
    """A text that both databases can store: characters that they reject are replaced, so that no record is lost."""
    return words.encode(errors="replace").decode().replace("\0", "\ufffd")


def _row(name: str, new: NewEntry) -> dict[str, object]:
    data = new.data
    return {
        "id": name,
        "job_id": _text(new.job_id),
        "index": new.index,
        "owner": _text(new.owner),
        "created": new.created,
        "width": new.width,
        "height": new.height,
        "decision": new.decision.value,
        "unsafe": new.unsafe,
        "mode": _text(new.mode),
        "seed": new.seed,
        "steps": new.steps,
        "sampler": _text(new.sampler),
        "checkpoint": _text(new.checkpoint),
        "family": _text(new.family),
        "kind": None if data is None else kind_of(data),
        "size": len(data or b""),
        "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        "missing": False,
        "favourite": new.favourite,
    }


def _detail(new: NewEntry) -> dict[str, Any]:
    return {
        "prompt": storable(new.prompt),
        "negative_prompt": storable(new.negative_prompt),
        "infotext": _text(new.infotext),
        "record": _text(new.record),
        "checkpoint_digest": _text(new.checkpoint_digest),
        "policy": _text(new.policy),
        "scores": json.dumps(dict(new.scores)),
    }


def _text(words: str | None) -> str | None:
    return None if words is None else storable(words)


def _entry(row: RowMapping, marks: Iterable[str]) -> Entry:
    fields = {name: value for name, value in row.items() if name not in ("number", "rank")}
    fields |= {
        "decision": Decision(row["decision"]),
        "scores": json.loads(row["scores"]),
        "tags": tuple(marks),
    }
    return Entry(**fields)
