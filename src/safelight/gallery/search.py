"""Searches of the gallery, page by page.

A page starts after the last entry of the previous page, not at an offset, so that entries that are added or deleted
meanwhile are neither repeated nor hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Subquery,
    cast,
    func,
    select,
    true,
    tuple_,
    type_coerce,
)

from safelight.errors import GalleryError
from safelight.gallery.entry import Facets, Page, Search
from safelight.gallery.full_text import full_text_index
from safelight.gallery.mapping import ENTRY_QUERY, sanitize, to_entries
from safelight.gallery.query_syntax import parse_query
from safelight.gallery.tables import collection_entries, collections, entries, tags
from safelight.moderation.policy import Decision

_DAY = timedelta(days=1) // timedelta(microseconds=1)
_EPOCH = date(1970, 1, 1)
_ASCENDING = ("oldest", "smallest")
_MAX_TAGS = 1000
"""Maximum number of tags that are counted."""
_FILTERS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "checkpoint": lambda name: entries.c.checkpoint == sanitize(name),
    "sampler": lambda name: entries.c.sampler == sanitize(name),
    "decision": lambda decision: entries.c.decision == decision.value,
    "seed": lambda seed: entries.c.seed == seed,
    "job_id": lambda job_id: entries.c.job_id == sanitize(job_id),
    "tag": lambda tag: entries.c.number.in_(select(tags.c.number).where(tags.c.tag == sanitize(tag))),
    "collection": lambda collection_id: entries.c.number.in_(
        select(collection_entries.c.number).where(
            collection_entries.c.collection_id == sanitize(collection_id)
        )
    ),
    "parent": lambda entry_id: entries.c.parent_id == sanitize(entry_id),
    "favourite": entries.c.favourite.is_,
    "min_width": lambda pixels: entries.c.width >= pixels,
    "max_width": lambda pixels: entries.c.width <= pixels,
    "min_height": lambda pixels: entries.c.height >= pixels,
    "max_height": lambda pixels: entries.c.height <= pixels,
    "since": lambda moment: entries.c.created >= moment,
    "until": lambda moment: entries.c.created < moment,
}


def visible_to(owner: str | None) -> ColumnElement[bool]:
    """The condition for entries that an owner may see: their own, or all if the owner is None."""
    return true() if owner is None else entries.c.owner == sanitize(owner)


def search(connection: Connection, criteria: Search, owner: str | None) -> Page:
    """One page of a search's results.

    Raises:
        GalleryError: ``after`` does not come from a page, or a search by relevance has no query.
    """
    query = parse_query(criteria.query)
    if not query:
        if criteria.query.strip():
            return Page((), None)  # punctuation alone matches nothing
        if criteria.sort == "relevance":
            raise GalleryError("Relevance needs words to look for: give a query.")
    index = full_text_index(connection)
    matches = index.find(query) if query.groups else None
    conditions = _conditions(criteria, owner)
    if query.excluded and matches is None:
        conditions.append(entries.c.number.not_in(select(index.find_excluded(query))))
    chosen = _choose(criteria, matches, conditions)
    page = ENTRY_QUERY.add_columns(*chosen.c).join(chosen, chosen.c.chosen == entries.c.number)
    ordered = page.order_by(*_directed(criteria.sort, chosen.c))
    rows = connection.execute(ordered).mappings().all()
    shown = rows[: criteria.limit]
    next_cursor = ":".join(str(shown[-1][key.name]) for key in chosen.c) if len(rows) > len(shown) else None
    return Page(to_entries(connection, shown, owner), next_cursor)


def _choose(
    criteria: Search, matches: FromClause | None, conditions: Iterable[ColumnElement[bool]]
) -> Subquery:
    """The numbers of a page's entries and one more: sorting complete rows would take far longer.

    Returns:
        The column ``chosen``, the number; before it ``sort_key``, unless entries are in the order of their numbers.
    """
    number = (entries if matches is None else matches).c.number
    keys: list[ColumnElement[Any]] = [number.label("chosen")]
    if criteria.sort in ("largest", "smallest"):
        keys.insert(0, (cast(entries.c.width, BigInteger) * entries.c.height).label("sort_key"))
    elif criteria.sort == "relevance" and matches is not None:
        keys.insert(0, matches.c.rank.label("sort_key"))
    query = select(*keys).where(*conditions)
    query = (
        query.select_from(entries)
        if matches is None
        else query.join_from(matches, entries, matches.c.number == entries.c.number)
    )
    if criteria.after is not None:
        values = _parse_cursor(criteria.after, len(keys))
        place, last = (tuple_(*keys), tuple_(*values)) if len(keys) > 1 else (number, values[0])
        query = query.where(place > last if criteria.sort in _ASCENDING else place < last)
    return query.order_by(*_directed(criteria.sort, keys)).limit(criteria.limit + 1).subquery("page")


def _directed(sort: str, keys: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [key.asc() if sort in _ASCENDING else key.desc() for key in keys]


def _conditions(criteria: Search, owner: str | None) -> list[ColumnElement[bool]]:
    filters = ((name, getattr(criteria, name)) for name in _FILTERS)
    return [visible_to(owner), *(_FILTERS[name](value) for name, value in filters if value is not None)]


def _parse_cursor(cursor: str, length: int) -> list[int]:
    parts = cursor.split(":")
    if len(parts) != length or not all(
        part.isascii() and part.isdigit() and len(part) < 19 for part in parts
    ):
        raise GalleryError("after has to be what a page gave as next, in the same order.")
    return [int(part) for part in parts]


def facets(connection: Connection, owner: str | None) -> Facets:
    """The number of entries by checkpoint, sampler, decision, day, tag and collection."""
    day = type_coerce(entries.c.created, BigInteger) // _DAY
    return Facets(
        checkpoints=_counts(connection, entries.c.checkpoint, owner),
        samplers=_counts(connection, entries.c.sampler, owner),
        decisions={
            Decision(name): amount for name, amount in _counts(connection, entries.c.decision, owner).items()
        },
        days={
            _EPOCH + timedelta(days=int(number)): amount
            for number, amount in sorted(_counts(connection, day, owner).items(), reverse=True)
        },
        tags=_count_tags(connection, owner),
        collections=_count_collections(connection, owner),
    )


def _counts(connection: Connection, by: ColumnElement[Any], owner: str | None) -> dict[Any, int]:
    amount = func.count()
    query = select(by, amount).where(visible_to(owner), by.is_not(None)).group_by(by)
    return {row[0]: row[1] for row in connection.execute(query.order_by(amount.desc(), by))}


def _count_tags(connection: Connection, owner: str | None) -> dict[str, int]:
    """The number of entries by tag, of the most frequent tags."""
    amount = func.count()
    query = select(tags.c.tag, amount).where(visible_to(owner)).group_by(tags.c.tag)
    if owner is not None:
        query = query.join_from(tags, entries)
    ordered = query.order_by(amount.desc(), tags.c.tag).limit(_MAX_TAGS)
    return {row[0]: row[1] for row in connection.execute(ordered)}


def _count_collections(connection: Connection, owner: str | None) -> dict[str, int]:
    """The number of entries by collection."""
    amount = func.count()
    query = (
        select(collections.c.id, amount)
        .join_from(collection_entries, collections)
        .join(entries, entries.c.number == collection_entries.c.number)
        .where(visible_to(owner), true() if owner is None else collections.c.owner == sanitize(owner))
        .group_by(collections.c.id)
    )
    return {row[0]: row[1] for row in connection.execute(query.order_by(amount.desc(), collections.c.id))}
