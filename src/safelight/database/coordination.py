"""The clock and the locks that processes on several hosts share."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, literal, select, type_coerce

from safelight.database.types import Instant

_LOCK_NAMESPACE = 0x5AFE
"""The first of the two numbers of our locks by name, so that they do not collide with others."""


def now(connection: Connection) -> datetime:
    """The time by the clock that all hosts share: the PostgreSQL server's; SQLite is used by one host only."""
    if connection.dialect.name != "postgresql":
        return _host_time()
    return connection.execute(select(current_time(connection))).scalar_one()


def current_time(connection: Connection) -> ColumnElement[datetime]:
    """The same time as an SQL expression, which saves a query."""
    if connection.dialect.name != "postgresql":
        return literal(_host_time(), Instant())
    microseconds = func.extract("epoch", func.clock_timestamp()) * 1_000_000
    return type_coerce(cast(microseconds, BigInteger), Instant())


def acquire_transaction_lock(connection: Connection, name: str) -> None:
    """Serialize writing transactions per name until they end; SQLite serializes all of them anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK_NAMESPACE, func.hashtext(name))))


def _host_time() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
