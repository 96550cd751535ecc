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
from safelight.gallery.full_text import asked, words_in
from safelight.gallery.mapping import SHOWN, entries_of, storable
from safelight.gallery.tables import entries, tags
from safelight.moderation.policy import Decision

_DAY = timedelta(days=1) // timedelta(microseconds=1)
_EPOCH = date(1970, 1, 1)
_FILTERS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "checkpoint": lambda name: entries.c.checkpoint == storable(name),
    "sampler": lambda name: entries.c.sampler == storable(name),
    "decision": lambda decision: entries.c.decision == decision.value,
    "seed": lambda seed: entries.c.seed == seed,
    "job_id": lambda job_id: entries.c.job_id == storable(job_id),
    "tag": lambda tag: exists().where(tags.c.number == entries.c.number, tags.c.tag == storable(tag)),
    "favourite": entries.c.favourite.is_,
    "min_width": lambda pixels: entries.c.width >= pixels,
    "max_width": lambda pixels: entries.c.width <= pixels,
    "min_height": lambda pixels: entries.c.height >= pixels,
    "max_height": lambda pixels: entries.c.height <= pixels,
    "since": lambda moment: entries.c.created >= moment,
    "until": lambda moment: entries.c.created < moment,
}


def visible(owner: str | None) -> ColumnElement[bool]:
    """The condition for entries that an owner may see: their own, or all if the owner is None."""
    return true() if owner is None else entries.c.owner == storable(owner)


def search(connection: Connection, wanted: Search, owner: str | None) -> Page:
    """One page of a search's results.

    Raises:
        GalleryError: ``after`` does not come from a page, or a search by relevance has no query.
    """
    query = asked(wanted.query)
    if wanted.query.strip() and not query:
        return Page((), None)  # punctuation alone matches nothing
    if wanted.order == "relevance":
        if not query:
            raise GalleryError("Relevance needs words to look for: give a query.")
        return _best(connection, wanted, owner, words_in(connection).find(query))
    found = words_in(connection).find(query) if query else None
    return _newest(connection, wanted, owner, found)


def _newest(connection: Connection, wanted: Search, owner: str | None, found: FromClause | None) -> Page:
    number = entries.c.number if found is None else found.c.number
    page = SHOWN if found is None else SHOWN.join(found, found.c.number == entries.c.number)
    page = page.where(*_conditions(wanted, owner))
    if wanted.after is not None:
        page = page.where(number < _number(wanted.after))
    rows = connection.execute(page.order_by(number.desc()).limit(wanted.limit + 1)).mappings().all()
    visible_rows = rows[: wanted.limit]
    next_cursor = str(visible_rows[-1]["number"]) if len(rows) > len(visible_rows) else None
    return Page(entries_of(connection, visible_rows), next_cursor)


def _best(connection: Connection, wanted: Search, owner: str | None, found: FromClause) -> Page:
    """A page by relevance. The best numbers are selected first: sorting complete rows would take far longer."""
    rank, number = found.c.rank, found.c.number
    ranked = select(rank, number).join(entries, number == entries.c.number).where(*_conditions(wanted, owner))
    if wanted.after is not None:
        ranked = ranked.where(tuple_(rank, number) < tuple_(*_rank_and_number(wanted.after)))
    chosen = ranked.order_by(rank.desc(), number.desc()).limit(wanted.limit + 1).subquery("chosen")
    page = SHOWN.add_columns(chosen.c.rank).join(chosen, chosen.c.number == entries.c.number)
    ordered = page.order_by(chosen.c.rank.desc(), chosen.c.number.desc())
    rows = connection.execute(ordered).mappings().all()
    visible_rows = rows[: wanted.limit]
    next_cursor = (
        f"{visible_rows[-1]['rank']}:{visible_rows[-1]['number']}" if len(rows) > len(visible_rows) else None
    )
    return Page(entries_of(connection, visible_rows), next_cursor)


def _conditions(wanted: Search, owner: str | None) -> list[ColumnElement[bool]]:
    filters = ((name, getattr(wanted, name)) for name in _FILTERS)
    return [visible(owner), *(_FILTERS[name](value) for name, value in filters if value is not None)]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise GalleryError("after has to be what a page gave as next, in the same order.")
    return int(text)


def _rank_and_number(cursor: str) -> tuple[int, int]:
    rank, _, number = cursor.partition(":")
    return _number(rank), _number(number)


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
    query = select(by, amount).where(visible(owner), by.is_not(None)).group_by(by)
    return {row[0]: row[1] for row in connection.execute(query.order_by(amount.desc(), by))}
