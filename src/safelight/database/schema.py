"""The schema of the database, and its migrations from one version of Safelight to the next.

Each package with tables has a ``Schema``: its numbered migrations, which are SQL files in ``migrations/``. The
database stores the version of each package's schema separately, so that packages can change independently.

Migrations are literal SQL. If they were derived from the declarations in ``tables.py``, they would change with these,
and a migrated database would differ from a new one.
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

from safelight.database.engine import read_transaction, write_transaction
from safelight.database.errors import translate_database_errors
from safelight.errors import DatabaseError, DatabaseVersionError

METADATA = MetaData()
"""All tables, as statements use them; each package declares its own. Migrations create them."""

DIALECTS = ("sqlite", "postgresql")
MIGRATIONS = Path(__file__).parent / "migrations"
"""A folder with a subfolder per package."""

_versions = Table(
    "schema_versions",
    METADATA,
    Column("part", String(40), primary_key=True),
    Column("version", Integer, nullable=False),
)
_CREATE_VERSIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_versions (
  part VARCHAR(40) NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (part)
)"""
_MIGRATION_LOCK = 0x5AFE_11F4
"""PostgreSQL's advisory lock for migrations; an arbitrary number that nothing else uses."""


@dataclass(frozen=True)
class Migration:
    """One step of a schema, in the SQL of both databases.

    Args:
        sqlite: SQL statements, each ending with a semicolon at the end of a line.
        postgresql: Likewise.
    """

    sqlite: str
    postgresql: str

    @classmethod
    def for_all_dialects(cls, text: str) -> Self:
        """A step with the same SQL for both databases."""
        return cls(text, text)

    def run(self, connection: Connection) -> None:
        """Run it in the open transaction."""
        text = self.postgresql if connection.dialect.name == "postgresql" else self.sqlite
        for statement in _split_statements(text):
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


@dataclass(frozen=True)
class Schema:
    """The tables of one package.

    Args:
        package: The package's name.
        migrations: From nothing to the current tables, in order. A released migration never changes: a change is a
            new one at the end.
    """

    package: str
    migrations: tuple[Migration, ...]

    @classmethod
    def read(cls, package: str, root: Path = MIGRATIONS) -> Self:
        """The schema of a package whose migrations are the files of a folder.

        Args:
            package: The name of package and folder. It has ``001.sql`` or, where the databases need different SQL,
                ``001.sqlite.sql`` and ``001.postgresql.sql``; then ``002`` and so on.
            root: The folder's parent.
        """
        folder = root / package
        migrations: list[Migration] = []
        while texts := _read_sql(folder, len(migrations) + 1):
            migrations.append(Migration(*texts))
        numbers = {f"{number:03}" for number in range(1, len(migrations) + 1)}
        if not numbers or {path.name.partition(".")[0] for path in folder.glob("*.sql")} != numbers:
            raise ValueError(f"{folder} does not have a migration for each number from 001")
        return cls(package, tuple(migrations))


def check_version(engine: Engine) -> None:
    """Check that a database can be used, without changing it.

    Raises:
        DatabaseVersionError: A newer version of Safelight has migrated it.
        DatabaseError: It cannot be read.
    """
    with read_transaction(engine) as connection:
        for folder in MIGRATIONS.iterdir():
            _pending(connection, Schema.read(folder.name))


def migrate(engine: Engine, schemas: Sequence[Schema]) -> None:
    """Migrate all schemas, or none. Processes that start at the same time wait for each other.

    Args:
        engine: The database.
        schemas: In this order: referenced tables come first.

    Raises:
        DatabaseVersionError: A newer version of Safelight has migrated the database.
        DatabaseError: A migration fails.
    """
    with read_transaction(engine) as connection:
        if not any(_pending(connection, schema) for schema in schemas):
            return
    with _migration_transaction(engine) as connection:
        connection.exec_driver_sql(_CREATE_VERSIONS_TABLE)
        for schema in schemas:
            _apply_pending(connection, schema)


@contextmanager
def _migration_transaction(engine: Engine) -> Iterator[Connection]:
    """A writing transaction that excludes other migrations.

    SQLite checks foreign keys only at its end: many changes replace a table by a new one, and dropping the old one
    would delete every row that refers to it.
    """
    if engine.dialect.name == "postgresql":
        with write_transaction(engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            yield connection
        return
    with translate_database_errors(), engine.connect() as connection:
        cursor = connection.connection.cursor()  # the pragma has no effect within a transaction
        cursor.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                yield connection
                if violation := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise DatabaseError(f"A row of the table {violation[0]} refers to one that is not there.")
        finally:
            cursor.execute("PRAGMA foreign_keys = ON")


def _apply_pending(connection: Connection, schema: Schema) -> None:
    pending = _pending(connection, schema)
    for migration in pending:
        migration.run(connection)
    if pending:
        values = {"part": schema.package, "version": len(schema.migrations)}
        changed = connection.execute(
            update(_versions).where(_versions.c.part == schema.package).values(values)
        )
        if not changed.rowcount:
            connection.execute(insert(_versions).values(values))


def _pending(connection: Connection, schema: Schema) -> tuple[Migration, ...]:
    version = _version(connection, schema.package)
    if version > len(schema.migrations):
        raise DatabaseVersionError(
            f"The database's {schema.package} has version {version}; this Safelight knows {len(schema.migrations)}."
        )
    return schema.migrations[version:]


def _version(connection: Connection, package: str) -> int:
    if not inspect(connection).has_table(_versions.name):
        return 0
    return connection.execute(select(_versions.c.version).where(_versions.c.part == package)).scalar() or 0


def _read_sql(folder: Path, number: int) -> tuple[str, ...]:
    """The SQL of a migration for SQLite and for PostgreSQL; empty if there is none with this number."""
    common = folder / f"{number:03}.sql"
    if common.exists():
        return (common.read_text(encoding="utf-8"),) * len(DIALECTS)
    paths = [folder / f"{number:03}.{dialect}.sql" for dialect in DIALECTS]
    if not any(path.exists() for path in paths):
        return ()
    return tuple(path.read_text(encoding="utf-8") for path in paths)


def _split_statements(text: str) -> Iterator[str]:
    """The statements of an SQL text; a trigger with its inner semicolons is one statement."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip().removesuffix(";")
            statement = ""
    if statement.strip():
        raise ValueError(f"a statement has no end: {statement.strip()[:80]}")
