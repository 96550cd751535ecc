"""The migrations of all packages give the declared tables, whatever version a database started from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from tests.database import snapshot
from tests.database.schema_dump import Structure, structure, tables_of
from tests.database.snapshot import ALL, KEYS, restore
from tests.postgres import empty_database

from safelight.database import (
    METADATA,
    Migration,
    Schema,
    migrate,
    open_database,
    read_transaction,
    write_transaction,
)
from safelight.settings import Settings

OLDEST = "58f7dbc"
WORDS = "entry_words"
"""Tables without a declaration: SQLAlchemy has no full-text search."""
TIMES = {"created", "started", "ended", "expires", "lease", "seen", "used", "revoked", "opened"}
"""Columns that held seconds, as floating point, in old databases; all hold microseconds now."""
DROPPED = {OLDEST: {"timings"}}
"""Tables whose rows a migration deletes: timings had another unit."""

Rows = list[dict[str, object]]


@pytest.fixture
def other(request: pytest.FixtureRequest, database_settings: Settings, tmp_path: Path) -> Iterator[Engine]:
    """A second empty database of the same kind."""
    if not database_settings.database.get_secret_value():
        engine = open_database(Settings(home=tmp_path / "other"))
        yield engine
        engine.dispose()
        return
    with empty_database(request.getfixturevalue("postgres")) as url:
        engine = open_database(Settings(home=tmp_path, database=SecretStr(url)))
        yield engine
        engine.dispose()


def schema_of(engine: Engine) -> Structure:
    with read_transaction(engine) as connection:
        return structure(connection)


def run(engine: Engine, statements: str) -> None:
    with write_transaction(engine) as connection:
        Migration.for_all_dialects(statements).run(connection)


@pytest.mark.parametrize("name", snapshot.snapshot_names())
def test_a_migrated_database_equals_a_new_one(engine: Engine, other: Engine, name: str) -> None:
    """And it keeps all of its rows."""
    restore(engine, name)
    before = all_rows(engine)
    migrate(engine, ALL)
    migrate(other, ALL)
    assert schema_of(engine) == schema_of(other)
    assert versions(engine) == versions(other) == {schema.package: len(schema.migrations) for schema in ALL}
    after = all_rows(engine)
    del before["schema_versions"]
    for row in before["entry_details"]:  # has its own table
        row.pop("embedding", None)
    for table in before.keys() - DROPPED.get(name, set()):
        assert len(after[table]) == len(before[table]) > 0
        for row in before[table]:
            assert any(is_preserved(row, now) for now in after[table]), (table, row)


def test_every_table_is_in_the_newest_snapshot(engine: Engine, tmp_path: Path) -> None:
    """So that each stored table is covered by these tests: ``snapshot.fill_tables`` has to fill a new one."""
    snapshot.take_snapshot(engine, tmp_path)
    assert [table for table, rows in all_rows(engine).items() if not rows] == []


def test_ids_are_not_reused(engine: Engine) -> None:
    """A client that follows events asks for those after its last one, which may be deleted by now."""
    restore(engine, "c421f3b")
    run(engine, "DELETE FROM events;\n")
    migrate(engine, ALL)
    run(
        engine,
        "INSERT INTO events (job_id, kind, data, created) SELECT id, 'state', '{}', 1 FROM jobs LIMIT 1;\n",
    )
    (event,) = rows(engine, "events")
    assert event["id"] == 15


def test_old_jobs_get_their_list_projection(engine: Engine) -> None:
    restore(engine, OLDEST)
    migrate(engine, ALL)
    summaries = {row["id"]: row["summary"] for row in rows(engine, "jobs")}
    assert json.loads(str(summaries["j2"])) == {"images": 3}
    assert summaries["j1"] is None


def is_preserved(row: dict[str, object], now: dict[str, object]) -> bool:
    """Whether a row has all values of an old one; databases round the last microsecond in different ways."""

    def same(name: str, value: object) -> bool:
        if name in TIMES and isinstance(value, float):
            return now[name] == pytest.approx(value * 1_000_000, rel=0, abs=1)
        return now[name] == value

    return all(same(name, value) for name, value in row.items())


def test_migrations_give_the_declared_tables(engine: Engine, other: Engine) -> None:
    migrate(engine, ALL)
    with write_transaction(other) as connection:
        METADATA.create_all(connection)
    made, declared = schema_of(engine), schema_of(other)
    follows = [line for line in made["entries"] if line.startswith("CREATE TRIGGER entry_words_follow")]
    assert len(follows) == (engine.dialect.name == "sqlite")
    made["entries"] = [line for line in made["entries"] if line not in follows]
    assert {table: made[table] for table in made if not table.startswith(WORDS)} == declared


def test_a_change_reaches_old_and_new_databases_alike(engine: Engine, other: Engine) -> None:
    """A regression test: a column that is declared, and added by a migration."""
    change = Migration.for_all_dialects(
        "ALTER TABLE jobs ADD COLUMN colour TEXT DEFAULT 'red' NOT NULL;\n"
        "CREATE INDEX by_colour ON jobs (colour);\n"
    )
    grown = [
        Schema(schema.package, (*schema.migrations, change)) if schema.package == "jobs" else schema
        for schema in ALL
    ]
    restore(engine, OLDEST)
    migrate(engine, grown)
    migrate(other, grown)
    assert schema_of(engine) == schema_of(other)
    assert {row["colour"] for row in rows(engine, "jobs")} == {"red"}


def test_a_referenced_table_can_be_replaced(engine: Engine) -> None:
    """SQLite's only way to change tables, which would delete the rows that refer to the old one."""
    replaced = Migration.for_all_dialects(
        "CREATE TABLE new_keys (id VARCHAR(12) NOT NULL, name TEXT, PRIMARY KEY (id));\n"
        "INSERT INTO new_keys SELECT id, name FROM keys;\n"
        "DROP TABLE keys;\n"
        "ALTER TABLE new_keys RENAME TO keys;\n"
    )
    restore(engine, OLDEST)
    if engine.dialect.name == "postgresql":  # changes columns, and refuses to drop a referenced table
        replaced = Migration.for_all_dialects("ALTER TABLE keys ALTER COLUMN name TYPE TEXT;\n")
    migrate(engine, [Schema("keys", (*KEYS.migrations, replaced))])
    assert len(rows(engine, "key_usage")) == len(rows(engine, "key_sessions")) == 1
    with write_transaction(engine) as connection:  # and they still cascade
        connection.execute(text("DELETE FROM keys"))
    assert rows(engine, "key_usage") == rows(engine, "key_sessions") == []


def all_rows(engine: Engine) -> dict[str, Rows]:
    """All rows of all tables."""
    with read_transaction(engine) as connection:
        tables = tables_of(connection)
    return {table: rows(engine, table) for table in tables}


def rows(engine: Engine, table: str) -> Rows:
    with read_transaction(engine) as connection:
        return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]


def versions(engine: Engine) -> dict[object, object]:
    return {row["part"]: row["version"] for row in rows(engine, "schema_versions")}
