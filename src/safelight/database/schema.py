"""Tables, and how they come into being and change from one version of Safelight to the next.

Each package that keeps something has a ``Schema``: its numbered migrations, which are files of SQL in ``migrations/``.
The database notes how many of them it has been through, for each package on its own, so that packages grow
independently.

Migrations say what to do in SQL's own words. Made from the declarations in ``tables.py`` they would be others each time
these change, and a database that came the long way would differ from a new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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
from safelight.database.errors import explained
from safelight.errors import DatabaseError, DatabaseVersionError

METADATA = MetaData()
"""All tables, as statements name them; each package declares its own. How they are made, its migrations say."""

DIALECTS = ("sqlite", "postgresql")
MIGRATIONS = Path(__file__).parent / "migrations"
"""With a folder for each package."""

_versions = Table(
    "schema_versions",
    METADATA,
    Column("part", String(40), primary_key=True),
    Column("version", Integer, nullable=False),
)
_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_versions (
  part VARCHAR(40) NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (part)
)"""
_LOCK = 0x5AFE_11F4
"""PostgreSQL's advisory lock while tables change; any number that others do not use."""


@dataclass(frozen=True)
class Migration:
    """One step of a schema, in both databases' words.

    Args:
        sqlite: SQL statements, each ended by a semicolon at the end of a line.
        postgresql: Likewise.
    """

    sqlite: str
    postgresql: str

    @classmethod
    def of(cls, text: str) -> Self:
        """A step that both databases are told in the same words."""
        return cls(text, text)

    def run(self, connection: Connection) -> None:
        """Do it, in the transaction that is open."""
        text = self.postgresql if connection.dialect.name == "postgresql" else self.sqlite
        for statement in _statements(text):
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


@dataclass(frozen=True)
class Schema:
    """What one package keeps in the database.

    Args:
        part: The package's name.
        migrations: From nothing to today's tables, in order. One that was released stays as it is: a change is a new
            one at the end.
    """

    part: str
    migrations: tuple[Migration, ...]

    @classmethod
    def read(cls, part: str, root: Path = MIGRATIONS) -> Self:
        """The schema whose migrations are the files of a folder.

        Args:
            part: The package's name, and the folder's. It has ``001.sql`` or, where the databases need different words,
                ``001.sqlite.sql`` and ``001.postgresql.sql``; then ``002`` and so on.
            root: Where it lies.
        """
        folder = root / part
        migrations: list[Migration] = []
        while texts := _texts(folder, len(migrations) + 1):
            migrations.append(Migration(*texts))
        numbers = {f"{number:03}" for number in range(1, len(migrations) + 1)}
        if not numbers or {path.name.partition(".")[0] for path in folder.glob("*.sql")} != numbers:
            raise ValueError(f"{folder} does not have a migration for each number from 001")
        return cls(part, tuple(migrations))


def refuse_newer(engine: Engine) -> None:
    """See whether a database can be used, without changing anything.

    Raises:
        DatabaseVersionError: A newer Safelight has been here.
        DatabaseError: It cannot be read.
    """
    with reading(engine) as connection:
        for folder in MIGRATIONS.iterdir():
            _pending(connection, Schema.read(folder.name))


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
    with _changing_tables(engine) as connection:
        connection.exec_driver_sql(_VERSIONS)
        for schema in schemas:
            _bring_up(connection, schema)


@contextmanager
def _changing_tables(engine: Engine) -> Iterator[Connection]:
    """A writing transaction of the only process that changes tables.

    SQLite follows references only afterwards, all at once: many changes mean a new table in an old one's place, and
    dropping the old one would delete every row that refers to it.
    """
    if engine.dialect.name == "postgresql":
        with writing(engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            yield connection
        return
    with explained(), engine.connect() as connection:
        outside = connection.connection.cursor()  # within a transaction the pragma has no effect
        outside.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise DatabaseError(f"A row of the table {broken[0]} refers to one that is not there.")
        finally:
            outside.execute("PRAGMA foreign_keys = ON")


def _bring_up(connection: Connection, schema: Schema) -> None:
    pending = _pending(connection, schema)
    for migration in pending:
        migration.run(connection)
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


def _texts(folder: Path, number: int) -> tuple[str, ...]:
    """What a migration says to SQLite and to PostgreSQL; nothing where there is none of that number."""
    common = folder / f"{number:03}.sql"
    if common.exists():
        return (common.read_text(encoding="utf-8"),) * len(DIALECTS)
    own = [folder / f"{number:03}.{dialect}.sql" for dialect in DIALECTS]
    if not any(path.exists() for path in own):
        return ()
    return tuple(path.read_text(encoding="utf-8") for path in own)


def _statements(text: str) -> Iterator[str]:
    """The statements of a text; a trigger with its own semicolons is one."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip().removesuffix(";")
            statement = ""
    if statement.strip():
        raise ValueError(f"a statement has no end: {statement.strip()[:80]}")
