"""Queries for rows of jobs without their long columns: a scan's pictures and verdicts can be megabytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, Select, case, func, null, select

from safelight.jobs.job import JsonObject
from safelight.jobs.queue.tables import jobs

SHORT_COLUMNS = [column for column in jobs.c if column.name not in ("request", "result", "summary")]
LONG_COLUMN_DEFAULTS: Mapping[str, str | None] = {"request": "{}", "result": None}
"""The columns that can be long, and the values that replace them."""


def list_query() -> Select[Any]:
    """The query of all jobs in list form: for scans only the number of pictures, and no results."""
    request = func.coalesce(jobs.c.summary, jobs.c.request).label("request")
    return select(*SHORT_COLUMNS, request, null().label("result"))


def summarize_request(request: JsonObject) -> str | None:
    """A request in list form; None where that is the request itself."""
    images = request.get("images")
    return json.dumps(request | {"images": len(images)}, sort_keys=True) if isinstance(images, list) else None


def bounded_query(largest: int) -> Select[Any]:
    """The query of all jobs, with requests and results up to a length.

    Args:
        largest: Longest request or result to read, in characters.
    """
    return _query_where(lambda part: func.length(part) <= largest)


def fetch_rows_within(
    connection: Connection, job_ids: Collection[str], *, largest: int, total: int
) -> Sequence[RowMapping]:
    """The rows of some jobs, newest first, with as many requests and results as a total length allows.

    Args:
        connection: A connection to read with.
        job_ids: The jobs' ids.
        largest: Longest request or result to read, in characters.
        total: Total length in characters; beyond it the longest are left out.
    """
    fitting = _select_fitting(connection, job_ids, largest, total)
    query = _query_where(lambda part: jobs.c.id.in_(fitting[part.name]))
    rows = query.where(jobs.c.id.in_(job_ids)).order_by(jobs.c.id.desc())
    return connection.execute(rows).mappings().all()


def _query_where(fits: Callable[[Column[Any]], ColumnElement[bool]]) -> Select[Any]:
    """The query with the long columns that satisfy a condition; the database neither sends nor parses the others."""
    long_columns = [
        case((fits(jobs.c[name]), jobs.c[name]), else_=default).label(name)
        for name, default in LONG_COLUMN_DEFAULTS.items()
    ]
    return select(*SHORT_COLUMNS, *long_columns)


def _select_fitting(
    connection: Connection, job_ids: Collection[str], largest: int, total: int
) -> Mapping[str, list[str]]:
    """The ids of the jobs whose request, and whose result, fits into the total length; shortest first."""
    lengths = select(jobs.c.id, *(func.length(jobs.c[name]).label(name) for name in LONG_COLUMN_DEFAULTS))
    rows = connection.execute(lengths.where(jobs.c.id.in_(job_ids))).mappings().all()
    parts = [(row[name] or 0, name, row["id"]) for row in rows for name in LONG_COLUMN_DEFAULTS]
    fitting: dict[str, list[str]] = {name: [] for name in LONG_COLUMN_DEFAULTS}
    for length, name, job_id in sorted(parts):
        total -= length
        if length > largest or total < 0:
            break
        fitting[name].append(job_id)
    return fitting
