from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from safelight.database import open_database, read_transaction, write_transaction
from safelight.database.engine import parse_url
from safelight.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseOpenError,
    DatabaseUrlError,
)
from safelight.settings import Settings


def run(engine: Engine, *statements: str) -> None:
    with write_transaction(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


def numbers(engine: Engine) -> list[int]:
    with read_transaction(engine) as connection:
        return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


@pytest.fixture
def table(engine: Engine) -> Engine:
    run(engine, "CREATE TABLE t (n BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    return engine


def test_sqlite_is_in_the_data_directory_and_set_up_for_several_processes(tmp_path: Path):
    engine = open_database(Settings(home=tmp_path / "deep" / "home"))
    with read_transaction(engine) as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in names}
    assert found == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}
    assert (tmp_path / "deep" / "home" / "safelight.db").is_file()
    engine.dispose()


def test_an_explicit_path(tmp_path: Path):
    engine = open_database(Settings(home=tmp_path, database=SecretStr(f"sqlite:///{tmp_path}/a b/own.db")))
    run(engine, "CREATE TABLE t (n INTEGER)")
    assert (tmp_path / "a b" / "own.db").is_file()
    assert not (tmp_path / "safelight.db").exists()
    engine.dispose()


def test_commits_are_stored_and_failures_rolled_back(table: Engine):
    def fail() -> None:
        with write_transaction(table) as connection:
            connection.execute(text("INSERT INTO t VALUES (2)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert numbers(table) == [1]
    run(table, "INSERT INTO t VALUES (3)")
    assert numbers(table) == [1, 3]


def test_a_read_transaction_cannot_write_and_a_later_one_can(table: Engine):
    with pytest.raises(DatabaseError), read_transaction(table) as connection:
        connection.execute(text("INSERT INTO t VALUES (2)"))
    run(table, "INSERT INTO t VALUES (3)")  # on the same connection, from the pool
    assert numbers(table) == [1, 3]


def test_a_read_transaction_sees_one_state(table: Engine):
    with read_transaction(table) as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 1
        run(table, "INSERT INTO t VALUES (2)")
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 1
    assert numbers(table) == [1, 2]


def test_an_integrity_error_is_left_to_the_caller(table: Engine):
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError):
        run(table, "INSERT INTO t VALUES (1)")


def test_values_read_in_a_write_transaction_are_still_current_when_written(sqlite_engine: Engine):
    run(sqlite_engine, "CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (0)")

    def count_up() -> None:
        for _ in range(50):
            with write_transaction(sqlite_engine) as connection:
                before = connection.execute(text("SELECT n FROM t")).scalar_one()
                connection.execute(text("UPDATE t SET n = :n"), {"n": before + 1})

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(sqlite_engine) == [200]


COUNTER = """
import sys
from pathlib import Path
from sqlalchemy import text
from safelight.database import open_database, write_transaction
from safelight.settings import Settings

engine = open_database(Settings.load())
with write_transaction(engine) as connection:
    connection.execute(text("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)"))
for number in range(20):
    with write_transaction(engine) as connection:
        highest = connection.execute(text("SELECT coalesce(max(n), 0) FROM t")).scalar_one()
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": highest + 1})
"""


def test_several_processes_open_and_write_a_new_database_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    processes = [subprocess.Popen([sys.executable, "-c", COUNTER]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    engine = open_database(Settings(home=tmp_path))
    assert numbers(engine) == list(range(1, 81))
    engine.dispose()


def test_a_lock_that_is_held_too_long(database_settings: Settings):
    patient, impatient = open_database(database_settings), open_database(database_settings, lock_timeout=0.3)
    run(patient, "CREATE TABLE t (n BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with write_transaction(patient) as connection:
        connection.execute(text("UPDATE t SET n = 2"))
        started = time.monotonic()
        with pytest.raises(DatabaseBusyError):
            run(impatient, "UPDATE t SET n = 3")
        assert 0.2 < time.monotonic() - started < 10
        assert numbers(impatient) == [1], "readers do not wait for writers"
    run(impatient, "UPDATE t SET n = 3")
    patient.dispose()
    impatient.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://user:hush@host/name",
        "postgresql://user:hush@host:port/name",
        "postgresql+asyncpg://user:hush@host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///relative.db",
        "sqlite:////tmp/x.db?mode=memory",
    ],
)
def test_invalid_urls(url: str):
    with pytest.raises(DatabaseUrlError) as caught:
        parse_url(url)
    assert "hush" not in json.dumps(caught.value.to_dict())
    assert caught.value.exit_code == 2


def test_both_forms_of_a_postgresql_url():
    assert parse_url("postgresql://a@b/c") == parse_url("postgresql+psycopg://a@b/c")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "safelight.db").write_bytes(b"a diary, not a database" * 100)
    with pytest.raises(DatabaseDamagedError, match="not a database"):
        open_database(Settings(home=tmp_path))
    assert (tmp_path / "safelight.db").read_bytes().startswith(b"a diary")


def test_an_impossible_data_directory(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseOpenError, match="cannot be made"):
        open_database(Settings(home=tmp_path / "file" / "home"))


def test_an_unreachable_server_and_no_password_in_its_error(tmp_path: Path):
    settings = Settings(home=tmp_path, database=SecretStr(f"postgresql://user:hush@/name?host={tmp_path}"))
    with pytest.raises(DatabaseOpenError) as caught:
        open_database(settings, lock_timeout=1)
    assert "hush" not in json.dumps(caught.value.to_dict())
    assert "hush" not in repr(settings) + settings.model_dump_json()


def test_a_missing_database_on_the_server(postgres: str, tmp_path: Path):
    url = postgres.replace("/postgres?", "/nowhere?")
    with pytest.raises(DatabaseOpenError, match="nowhere"):
        open_database(Settings(home=tmp_path, database=SecretStr(url)))


def test_closed_connections_are_reopened(postgres_url: str, tmp_path: Path):
    engine = open_database(Settings(home=tmp_path, database=SecretStr(postgres_url)))
    other = open_database(Settings(home=tmp_path, database=SecretStr(postgres_url)))
    close = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )

    def use_it_after_all() -> None:
        with write_transaction(engine) as connection:
            run(other, close)
            connection.execute(text("SELECT 1"))

    run(other, close)
    run(engine, "CREATE TABLE t (n BIGINT)")
    with pytest.raises(DatabaseOpenError):
        use_it_after_all()
    assert numbers(engine) == []
    engine.dispose()
    other.dispose()
