from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, Table, inspect, text

from safelight.database import Schema, create, migrate, open_database, reading, writing
from safelight.database.schema import METADATA
from safelight.errors import DatabaseError, DatabaseVersionError
from safelight.settings import Settings

shelf = Table("test_shelf", METADATA, Column("n", Integer, primary_key=True))
FIRST = Schema("shelf", (create(shelf),))


def add_width(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE test_shelf ADD COLUMN width INTEGER NOT NULL DEFAULT 7"))


def break_down(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE test_half (n INTEGER)"))
    connection.execute(text("SELECT * FROM nowhere"))


SECOND = Schema("shelf", (create(shelf), add_width))


def columns(engine: Engine, table: str) -> list[str]:
    return [column["name"] for column in inspect(engine).get_columns(table)]


def versions(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT part, version FROM schema_versions"))
        return {row.part: row.version for row in rows}


def test_tables_are_made_once_and_grow(engine: Engine):
    migrate(engine, [FIRST])
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO test_shelf VALUES (1)"))
    migrate(engine, [FIRST])
    assert columns(engine, "test_shelf") == ["n"]
    migrate(engine, [SECOND])
    migrate(engine, [SECOND])
    with reading(engine) as connection:
        assert connection.execute(text("SELECT n, width FROM test_shelf")).one() == (1, 7)
    assert versions(engine) == {"shelf": 2}


def test_a_new_database_goes_through_all_migrations(engine: Engine):
    migrate(engine, [SECOND])
    assert columns(engine, "test_shelf") == ["n", "width"]


def test_packages_have_versions_of_their_own(engine: Engine):
    migrate(engine, [SECOND, Schema("empty", ())])
    migrate(engine, [Schema("other", (lambda _: None,))])
    assert versions(engine) == {"shelf": 2, "other": 1}


def test_a_newer_database_is_refused_and_left_alone(engine: Engine):
    migrate(engine, [SECOND])
    other = Schema("other", (lambda connection: connection.execute(text("CREATE TABLE test_o (n INTEGER)")),))
    with pytest.raises(DatabaseVersionError, match="shelf has version 2; this Safelight knows 1"):
        migrate(engine, [other, FIRST])
    assert not inspect(engine).has_table("test_o")
    assert versions(engine) == {"shelf": 2}


def test_all_or_nothing(engine: Engine):
    migrate(engine, [FIRST])
    with pytest.raises(DatabaseError):
        migrate(engine, [Schema("shelf", (create(shelf), add_width, break_down))])
    assert columns(engine, "test_shelf") == ["n"]
    assert not inspect(engine).has_table("test_half")
    assert versions(engine) == {"shelf": 1}


def test_up_to_date_tables_are_not_waited_for(sqlite_engine: Engine):
    migrate(sqlite_engine, [FIRST])
    with writing(sqlite_engine):
        migrate(sqlite_engine, [FIRST])  # would wait for the lock otherwise


def test_all_who_start_at_once_find_the_tables_made_once(database_settings: Settings):
    """Each with connections of its own, as processes have."""
    engines = [open_database(database_settings) for _ in range(4)]
    start, runs, failures = threading.Barrier(4), [], []

    def make(connection: Connection) -> None:
        runs.append(connection)
        time.sleep(0.1)
        connection.execute(text("CREATE TABLE test_made (n INTEGER)"))

    def begin(engine: Engine) -> None:
        start.wait()
        try:
            migrate(engine, [Schema("made", (make,))])
        except DatabaseError as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert failures == []
    assert len(runs) == 1
