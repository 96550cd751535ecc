"""What processes on several hosts agree on: the time, and who comes first."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, literal, select, type_coerce

from safelight.database.types import Instant

_LOCKS = 0x5AFE
"""The first of the two numbers of our locks by name, so that they meet nobody else's."""


def now(connection: Connection) -> datetime:
    """The time by the clock that all hosts share: PostgreSQL's server's; with SQLite there is one host."""
    if connection.dialect.name != "postgresql":
        return _of_this_host()
    return connection.execute(select(current_time(connection))).scalar_one()


def current_time(connection: Connection) -> ColumnElement[datetime]:
    """The same time as a part of a statement, which saves asking for it first."""
    if connection.dialect.name != "postgresql":
        return literal(_of_this_host(), Instant())
    microseconds = func.extract("epoch", func.clock_timestamp()) * 1_000_000
    return type_coerce(cast(microseconds, BigInteger), Instant())


def wait_in_line(connection: Connection, name: str) -> None:
    """Let one writing transaction at a time go on for each name, until it ends; SQLite has one in all anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(name))))


def _of_this_host() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
