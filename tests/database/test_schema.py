from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from safelight.database import Migration, Schema, migrate, open_database, read_transaction, write_transaction
from safelight.errors import DatabaseError, DatabaseVersionError
from safelight.settings import Settings

SHELF = Migration.for_all_dialects("CREATE TABLE test_shelf (n INTEGER PRIMARY KEY);\n")
WIDTH = Migration.for_all_dialects("ALTER TABLE test_shelf ADD COLUMN width INTEGER NOT NULL DEFAULT 7;\n")
BROKEN = Migration.for_all_dialects("CREATE TABLE test_half (n INTEGER);\nSELECT * FROM nowhere;\n")
FIRST, SECOND = Schema("shelf", (SHELF,)), Schema("shelf", (SHELF, WIDTH))


def columns(engine: Engine, table: str) -> list[str]:
    return [column["name"] for column in inspect(engine).get_columns(table)]


def versions(engine: Engine) -> dict[str, int]:
    with read_transaction(engine) as connection:
        rows = connection.execute(text("SELECT part, version FROM schema_versions"))
        return {row.part: row.version for row in rows}


def test_tables_are_created_once_and_migrated(engine: Engine):
    migrate(engine, [FIRST])
    with write_transaction(engine) as connection:
        connection.execute(text("INSERT INTO test_shelf VALUES (1)"))
    migrate(engine, [FIRST])
    assert columns(engine, "test_shelf") == ["n"]
    migrate(engine, [SECOND])
    migrate(engine, [SECOND])
    with read_transaction(engine) as connection:
        assert connection.execute(text("SELECT n, width FROM test_shelf")).one() == (1, 7)
    assert versions(engine) == {"shelf": 2}


def test_a_new_database_runs_all_migrations(engine: Engine):
    migrate(engine, [SECOND])
    assert columns(engine, "test_shelf") == ["n", "width"]


def test_packages_have_separate_versions(engine: Engine):
    migrate(engine, [SECOND, Schema("empty", ())])
    migrate(engine, [Schema("other", (Migration.for_all_dialects(""),))])
    assert versions(engine) == {"shelf": 2, "other": 1}


def test_a_newer_database_is_refused_and_unchanged(engine: Engine):
    migrate(engine, [SECOND])
    other = Schema("other", (Migration.for_all_dialects("CREATE TABLE test_o (n INTEGER);"),))
    with pytest.raises(DatabaseVersionError, match="shelf has version 2; this Safelight knows 1"):
        migrate(engine, [other, FIRST])
    assert not inspect(engine).has_table("test_o")
    assert versions(engine) == {"shelf": 2}


def test_a_failed_migration_is_rolled_back(engine: Engine):
    migrate(engine, [FIRST])
    with pytest.raises(DatabaseError):
        migrate(engine, [Schema("shelf", (SHELF, WIDTH, BROKEN))])
    assert columns(engine, "test_shelf") == ["n"]
    assert not inspect(engine).has_table("test_half")
    assert versions(engine) == {"shelf": 1}


def test_up_to_date_tables_need_no_lock(sqlite_engine: Engine):
    migrate(sqlite_engine, [FIRST])
    with write_transaction(sqlite_engine):
        migrate(sqlite_engine, [FIRST])  # would wait for the lock otherwise


def test_tables_are_created_once_by_concurrent_starts(database_settings: Settings):
    """Each with its own connections, as processes have."""
    engines = [open_database(database_settings) for _ in range(4)]
    start, failures = threading.Barrier(4), []
    slow = Migration(  # so that all are waiting before the first is done
        "CREATE TABLE test_made AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) "
        "SELECT count(*) AS n FROM c;",
        "SELECT pg_sleep(0.1);\nCREATE TABLE test_made (n INTEGER);",
    )

    def begin(engine: Engine) -> None:
        start.wait()
        try:
            migrate(engine, [Schema("made", (slow,))])
        except DatabaseError as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert failures == []  # a second one would have found the table there


def test_files_are_read_in_order_without_gaps(tmp_path: Path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "001.sql").write_text("CREATE TABLE a (n INTEGER);")
    (tmp_path / "part" / "002.sqlite.sql").write_text("CREATE TABLE b (n BLOB);")
    (tmp_path / "part" / "002.postgresql.sql").write_text("CREATE TABLE b (n BYTEA);")
    read = Schema.read("part", tmp_path)
    assert read == Schema(
        "part",
        (
            Migration.for_all_dialects("CREATE TABLE a (n INTEGER);"),
            Migration("CREATE TABLE b (n BLOB);", "CREATE TABLE b (n BYTEA);"),
        ),
    )
    (tmp_path / "part" / "004.sql").write_text("DROP TABLE a;")
    with pytest.raises(ValueError, match="each number"):
        Schema.read("part", tmp_path)
    (tmp_path / "part" / "004.sql").rename(tmp_path / "part" / "003.sqlite.sql")
    with pytest.raises(FileNotFoundError, match=r"003\.postgresql\.sql"):
        Schema.read("part", tmp_path)


def test_percent_signs_and_colons_are_literal(engine: Engine):
    texts = Migration.for_all_dialects(
        "CREATE TABLE test_texts (t TEXT DEFAULT '100 % :x');\nINSERT INTO test_texts VALUES ('%s; :y');\n"
    )
    migrate(engine, [Schema("texts", (texts,))])
    with read_transaction(engine) as connection:
        assert connection.execute(text("SELECT t FROM test_texts")).scalar() == "%s; :y"


def test_an_unterminated_statement_is_refused(engine: Engine):
    with pytest.raises(ValueError, match="has no end: CREATE TABLE test_x"):
        migrate(engine, [Schema("x", (Migration.for_all_dialects("CREATE TABLE test_x (n INTEGER)"),))])


def test_foreign_keys_are_checked_afterwards(sqlite_engine: Engine):
    """SQLite does not check them while tables change; they are checked at the end."""
    dangling = Migration.for_all_dialects(
        "CREATE TABLE test_one (n INTEGER PRIMARY KEY);\n"
        "CREATE TABLE test_two (n INTEGER REFERENCES test_one (n));\nINSERT INTO test_two VALUES (3);\n"
    )
    with pytest.raises(DatabaseError, match="test_two refers"):
        migrate(sqlite_engine, [Schema("dangling", (dangling,))])
    assert not inspect(sqlite_engine).has_table("test_one")
    with read_transaction(sqlite_engine) as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
