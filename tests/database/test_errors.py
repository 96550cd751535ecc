from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from safelight.database import open_database, read_transaction, write_transaction
from safelight.database.errors import translate_database_errors
from safelight.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseOpenError,
    StorageFullError,
)
from safelight.settings import Settings


def test_a_full_disk_has_its_own_error_and_keeps_existing_rows(sqlite_engine: Engine):
    with write_transaction(sqlite_engine) as connection:
        connection.execute(text("CREATE TABLE t (data BLOB)"))
        connection.execute(text("INSERT INTO t VALUES (zeroblob(10000))"))

    def fill() -> None:
        with write_transaction(sqlite_engine) as connection:
            connection.execute(text("PRAGMA max_page_count = 10"))
            connection.execute(text("INSERT INTO t VALUES (zeroblob(1000000))"))

    with pytest.raises(StorageFullError) as caught:
        fill()
    assert caught.value.http_status == 507
    with read_transaction(sqlite_engine) as connection:
        assert connection.execute(text("SELECT length(data) FROM t")).scalars().all() == [10000]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("53100", StorageFullError),
        ("55P03", DatabaseBusyError),
        ("40P01", DatabaseBusyError),
        ("57P01", DatabaseOpenError),
        ("XX001", DatabaseDamagedError),
        ("22000", DatabaseError),
    ],
)
def test_errors_of_postgresql(
    postgres_url: str, tmp_path: object, state: str, error: type[DatabaseError]
) -> None:
    engine = open_database(Settings(home=tmp_path, database=postgres_url))
    with pytest.raises(error) as caught, write_transaction(engine) as connection:
        connection.exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$"
        )
    assert type(caught.value) is error
    assert caught.value.message == "The database says: so it is."
    engine.dispose()


def test_neither_statement_nor_values_are_in_the_error(engine: Engine):
    with pytest.raises(DatabaseError) as caught, write_transaction(engine) as connection:
        connection.execute(text("SELECT * FROM nowhere WHERE word = :word"), {"word": "private"})
    assert type(caught.value) is DatabaseError
    assert "nowhere" in caught.value.message
    assert "private" not in f"{caught.value.message}{caught.value.__cause__}"


def test_other_errors_are_unchanged():
    with pytest.raises(KeyError), translate_database_errors():
        raise KeyError


def test_an_exhausted_connection_pool(sqlite_engine: Engine, tmp_path: object):
    engine = open_database(Settings(home=tmp_path), lock_timeout=0.1)
    held = [engine.connect() for _ in range(20)]
    with pytest.raises(DatabaseBusyError, match="in use"), read_transaction(engine):
        pytest.fail("there is no connection left")
    for connection in held:
        connection.close()
    engine.dispose()
