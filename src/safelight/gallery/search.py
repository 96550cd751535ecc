"""Searches of the gallery, page by page.

A page starts after the last entry of the previous page, not at an offset, so that entries that are added or deleted
meanwhile are neither repeated nor hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    exists,
    func,
    select,
    true,
    tuple_,
    type_coerce,
)

from safelight.errors import GalleryError
from safelight.gallery.entry import Facets, Page, Search
from safelight.gallery.full_text import full_text_index, tokenize_query
from safelight.gallery.mapping import ENTRY_QUERY, sanitize, to_entries
from safelight.gallery.tables import entries, tags
from safelight.moderation.policy import Decision

_DAY = timedelta(days=1) // timedelta(microseconds=1)
_EPOCH = date(1970, 1, 1)
_FILTERS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "checkpoint": lambda name: entries.c.checkpoint == sanitize(name),
    "sampler": lambda name: entries.c.sampler == sanitize(name),
    "decision": lambda decision: entries.c.decision == decision.value,
    "seed": lambda seed: entries.c.seed == seed,
    "job_id": lambda job_id: entries.c.job_id == sanitize(job_id),
    "tag": lambda tag: exists().where(tags.c.number == entries.c.number, tags.c.tag == sanitize(tag)),
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
    query = tokenize_query(criteria.query)
    if criteria.query.strip() and not query:
        return Page((), None)  # punctuation alone matches nothing
    if criteria.order == "relevance":
        if not query:
            raise GalleryError("Relevance needs words to look for: give a query.")
        return _search_relevance(connection, criteria, owner, full_text_index(connection).find(query))
    found = full_text_index(connection).find(query) if query else None
    return _search_newest(connection, criteria, owner, found)


def _search_newest(
    connection: Connection, criteria: Search, owner: str | None, matches: FromClause | None
) -> Page:
    number = entries.c.number if matches is None else matches.c.number
    page = ENTRY_QUERY if matches is None else ENTRY_QUERY.join(matches, matches.c.number == entries.c.number)
    page = page.where(*_conditions(criteria, owner))
    if criteria.after is not None:
        page = page.where(number < _parse_number(criteria.after))
    rows = connection.execute(page.order_by(number.desc()).limit(criteria.limit + 1)).mappings().all()
    visible_rows = rows[: criteria.limit]
    next_cursor = str(visible_rows[-1]["number"]) if len(rows) > len(visible_rows) else None
    return Page(to_entries(connection, visible_rows), next_cursor)


def _search_relevance(
    connection: Connection, criteria: Search, owner: str | None, matches: FromClause
) -> Page:
    """A page by relevance. The best numbers are selected first: sorting complete rows would take far longer."""
    rank, number = matches.c.rank, matches.c.number
    ranked = (
        select(rank, number).join(entries, number == entries.c.number).where(*_conditions(criteria, owner))
    )
    if criteria.after is not None:
        ranked = ranked.where(tuple_(rank, number) < tuple_(*_parse_rank_cursor(criteria.after)))
    chosen = ranked.order_by(rank.desc(), number.desc()).limit(criteria.limit + 1).subquery("chosen")
    page = ENTRY_QUERY.add_columns(chosen.c.rank).join(chosen, chosen.c.number == entries.c.number)
    ordered = page.order_by(chosen.c.rank.desc(), chosen.c.number.desc())
    rows = connection.execute(ordered).mappings().all()
    visible_rows = rows[: criteria.limit]
    next_cursor = (
        f"{visible_rows[-1]['rank']}:{visible_rows[-1]['number']}" if len(rows) > len(visible_rows) else None
    )
    return Page(to_entries(connection, visible_rows), next_cursor)


def _conditions(criteria: Search, owner: str | None) -> list[ColumnElement[bool]]:
    filters = ((name, getattr(criteria, name)) for name in _FILTERS)
    return [visible_to(owner), *(_FILTERS[name](value) for name, value in filters if value is not None)]


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise GalleryError("after has to be what a page gave as next, in the same order.")
    return int(text)


def _parse_rank_cursor(cursor: str) -> tuple[int, int]:
    rank, _, number = cursor.partition(":")
    return _parse_number(rank), _parse_number(number)


def facets(connection: Connection, owner: str | None) -> Facets:
    """The number of entries by checkpoint, sampler, decision and day."""
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
    )


def _counts(connection: Connection, by: ColumnElement[Any], owner: str | None) -> dict[Any, int]:
    amount = func.count()
    query = select(by, amount).where(visible_to(owner), by.is_not(None)).group_by(by)
    return {row[0]: row[1] for row in connection.execute(query.order_by(amount.desc(), by))}
