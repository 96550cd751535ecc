"""The migrations of all packages: what they make is what is declared, wherever a database began."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from tests.database.structure import Structure, structure
from tests.postgres import empty_database

from safelight.database import METADATA, Migration, Schema, migrate, open_database, reading, writing
from safelight.jobs.service import SCHEMAS
from safelight.server.keys import SCHEMA as KEYS
from safelight.settings import Settings

ALL = (*SCHEMAS, KEYS)
BEFORE = Path(__file__).parent / "before"
WORDS = "entry_words"
"""What is made by no declaration: SQLAlchemy knows no full text."""

ROWS = """
INSERT INTO blobs VALUES ('aa', 1, 'data');
INSERT INTO jobs (id, owner, kind, state, request, priority, turn, cost, passed, checkpoint, request_id, created,
  attempt, lost) VALUES ('j1', 'anna', 'generate', 'queued', '{}', 0, 1.5, 1, 0, 'starter', 'r', 1.0, 0, 0);
INSERT INTO job_blobs VALUES ('j1', 'aa');
INSERT INTO events (job_id, kind, data, created) VALUES ('j1', 'state', '{}', 1.0);
INSERT INTO previews VALUES ('j1', 1, 'data');
INSERT INTO entries (id, job_id, "index", created, width, height, decision, size, missing, favourite)
  VALUES ('0000000000000000000abc', 'j1', 0, 1, 64, 64, 'allow', 3, false, true);
INSERT INTO entry_details (number, prompt, negative_prompt, scores) VALUES (1, 'a red apple', '', '{}');
INSERT INTO entry_tags VALUES ('fruit', 1);
INSERT INTO keys (id, name, digest, role, created) VALUES ('k', 'anna', 'd', 'user', 1.0);
INSERT INTO key_usage VALUES ('k', 20000, 3, 4000);
INSERT INTO key_sessions VALUES ('s', 'k', 1.0, 2.0);
"""
FILLED = [line.split()[2] for line in ROWS.splitlines() if line.startswith("INSERT")]


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


def found(engine: Engine) -> Structure:
    with reading(engine) as connection:
        return structure(connection)


def run(engine: Engine, statements: str) -> None:
    with writing(engine) as connection:
        Migration.of(statements).run(connection)


def as_before(engine: Engine) -> None:
    """Make a database as commit 58f7dbc made it, with a row in each table."""
    run(engine, (BEFORE / f"{engine.dialect.name}.sql").read_text())
    run(engine, ROWS)


def test_an_old_database_becomes_what_a_new_one_is(engine: Engine, other: Engine) -> None:
    as_before(engine)
    before = {table: rows(engine, table) for table in FILLED}
    migrate(engine, ALL)
    migrate(other, ALL)
    assert found(engine) == found(other)
    assert versions(engine) == versions(other) == {schema.part: len(schema.migrations) for schema in ALL}
    for table in FILLED:  # nothing is lost, whatever columns there are since
        (row,) = rows(engine, table)
        assert row.items() >= before[table][0].items()


def test_old_jobs_get_what_lists_show_of_them(engine: Engine) -> None:
    as_before(engine)
    scan = json.dumps({"images": [{"blob": "aa"}] * 3, "policy": "strict"})
    run(engine, f"UPDATE jobs SET kind = 'scan', request = '{scan}' WHERE id = 'j1';\n")
    run(
        engine,
        ROWS.splitlines()[2].replace("'j1'", "'j2'")
        + "\n"
        + ROWS.splitlines()[3].replace("'j1'", "'j2'")
        + "\n",
    )
    migrate(engine, ALL)
    summaries = {row["id"]: row["summary"] for row in rows(engine, "jobs")}
    assert json.loads(summaries["j1"]) == {"images": 3, "policy": "strict"}
    assert summaries["j2"] is None


def test_what_migrations_make_is_what_is_declared(engine: Engine, other: Engine) -> None:
    migrate(engine, ALL)
    with writing(other) as connection:
        METADATA.create_all(connection)
    made, declared = found(engine), found(other)
    follows = [line for line in made["entries"] if line.startswith("CREATE TRIGGER entry_words_follow")]
    assert len(follows) == (engine.dialect.name == "sqlite")
    made["entries"] = [line for line in made["entries"] if line not in follows]
    assert {table: made[table] for table in made if not table.startswith(WORDS)} == declared


def test_a_change_reaches_old_and_new_databases_alike(engine: Engine, other: Engine) -> None:
    """The case that failed: a column that is declared, and added by a migration."""
    change = Migration.of(
        "ALTER TABLE jobs ADD COLUMN colour TEXT DEFAULT 'red' NOT NULL;\n"
        "CREATE INDEX by_colour ON jobs (colour);\n"
    )
    grown = [
        Schema(schema.part, (*schema.migrations, change)) if schema.part == "jobs" else schema
        for schema in ALL
    ]
    as_before(engine)
    migrate(engine, grown)
    migrate(other, grown)
    assert found(engine) == found(other)
    assert rows(engine, "jobs")[0]["colour"] == "red"


def test_a_table_can_be_replaced_though_others_refer_to_it(engine: Engine) -> None:
    """SQLite changes tables in this way only, and would delete the rows that refer to the old one."""
    replaced = Migration.of(
        "CREATE TABLE new_keys (id VARCHAR(12) NOT NULL, name TEXT, PRIMARY KEY (id));\n"
        "INSERT INTO new_keys SELECT id, name FROM keys;\n"
        "DROP TABLE keys;\n"
        "ALTER TABLE new_keys RENAME TO keys;\n"
    )
    as_before(engine)
    if (
        engine.dialect.name == "postgresql"
    ):  # which can change a column, and refuses to drop what others refer to
        replaced = Migration.of("ALTER TABLE keys ALTER COLUMN name TYPE TEXT;\n")
    migrate(engine, [Schema("keys", (*KEYS.migrations, replaced))])
    assert len(rows(engine, "key_usage")) == len(rows(engine, "key_sessions")) == 1
    with writing(engine) as connection:  # and they still follow
        connection.execute(text("DELETE FROM keys"))
    assert rows(engine, "key_usage") == rows(engine, "key_sessions") == []


def rows(engine: Engine, table: str) -> list[dict[str, object]]:
    with reading(engine) as connection:
        return [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]


def versions(engine: Engine) -> dict[object, object]:
    return {row["part"]: row["version"] for row in rows(engine, "schema_versions")}
