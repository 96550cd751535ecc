"""Upserts: the one kind of statement in which the dialects of SQLite and PostgreSQL differ."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert with ``on_conflict_do_nothing`` and ``on_conflict_do_update``, which both databases support."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def upsert(
    connection: Connection, table: Table, key: Mapping[str, object], values: Mapping[str, object]
) -> None:
    """Insert a row, or update the row with the same key."""
    insert = insert_into(connection, table).values({**key, **values})
    connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=dict(values)))
