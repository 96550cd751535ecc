"""Tables, and how they come into being and change from one version of Safelight to the next.

Each package that keeps something has a ``Schema``: its numbered migrations. The database notes how many of them it has
been through, for each package on its own, so that packages grow independently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    func,
    insert,
    inspect,
    select,
    update,
)

from safelight.database.engine import reading, writing
from safelight.errors import DatabaseVersionError

METADATA = MetaData()
"""All tables; each package declares its own in its ``tables.py``."""

_versions = Table(
    "schema_versions",
    METADATA,
    Column("part", String(40), primary_key=True),
    Column("version", Integer, nullable=False),
)
_LOCK = 0x5AFE_11F4
"""PostgreSQL's advisory lock while tables change; any number that others do not use."""

Migration = Callable[[Connection], None]


@dataclass(frozen=True)
class Schema:
    """What one package keeps in the database.

    Args:
        part: The package's name.
        migrations: From nothing to today's tables, in order. One that was released stays as it is, whatever the tables
            become: a change is a new one at the end.
    """

    part: str
    migrations: tuple[Migration, ...]


def create(*tables: Table) -> Migration:
    """A migration that creates tables with their indexes, as they are declared."""

    def run(connection: Connection) -> None:
        METADATA.create_all(connection, tables, checkfirst=False)

    return run


def migrate(engine: Engine, schemas: Sequence[Schema]) -> None:
    """Bring the tables up to date: all of them, or none. Processes that start at once wait for each other.

    Args:
        engine: The database.
        schemas: In this order; tables that others refer to come first.

    Raises:
        DatabaseVersionError: A newer Safelight has been here.
        DatabaseError: A table cannot be made.
    """
    with reading(engine) as connection:
        if not any(_pending(connection, schema) for schema in schemas):
            return
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        _versions.create(connection, checkfirst=True)
        for schema in schemas:
            _bring_up(connection, schema)


def _bring_up(connection: Connection, schema: Schema) -> None:
    pending = _pending(connection, schema)
    for migration in pending:
        migration(connection)
    if pending:
        values = {"part": schema.part, "version": len(schema.migrations)}
        changed = connection.execute(update(_versions).where(_versions.c.part == schema.part).values(values))
        if not changed.rowcount:
            connection.execute(insert(_versions).values(values))


def _pending(connection: Connection, schema: Schema) -> tuple[Migration, ...]:
    version = _version(connection, schema.part)
    if version > len(schema.migrations):
        raise DatabaseVersionError(
            f"The database's {schema.part} has version {version}; this Safelight knows {len(schema.migrations)}."
        )
    return schema.migrations[version:]


def _version(connection: Connection, part: str) -> int:
    if not inspect(connection).has_table(_versions.name):
        return 0
    return connection.execute(select(_versions.c.version).where(_versions.c.part == part)).scalar() or 0
