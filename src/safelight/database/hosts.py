"""What processes on several hosts agree on: the time, and who comes first."""

from __future__ import annotations

import time

from sqlalchemy import Connection, func, select

_LOCKS = 0x5AFE
"""The first of the two numbers of our locks by name, so that they meet nobody else's."""


def now(connection: Connection) -> float:
    """Seconds since 1970 by the clock that all hosts share: PostgreSQL's server's; with SQLite there is one host."""
    if connection.dialect.name != "postgresql":
        return time.time()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def wait_in_line(connection: Connection, name: str) -> None:
    """Let one writing transaction at a time go on for each name, until it ends; SQLite has one in all anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(name))))
