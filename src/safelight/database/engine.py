"""The database connection, and its two kinds of transactions: ``read_transaction`` and ``write_transaction``."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from safelight.database.errors import translate_database_errors
from safelight.database.notifications import PENDING_OPTION, send_after_commit, send_before_commit
from safelight.errors import DatabaseOpenError, DatabaseUrlError
from safelight.file_permissions import create_private_file, create_private_folder
from safelight.settings import Settings

LOCK_TIMEOUT = 30.0
"""Seconds to wait for a lock of another process."""
_READ_ONLY_OPTION = "safelight_reading"
_POOL_SIZE = 10


def open_database(settings: Settings, *, lock_timeout: float = LOCK_TIMEOUT) -> Engine:
    """Connect to the database in the settings; several processes may use it at once.

    Args:
        settings: With ``database``; SQLite in the data directory where that is empty.
        lock_timeout: Seconds to wait for a lock of another process.

    Raises:
        DatabaseUrlError: Safelight cannot use the database that the setting names.
        DatabaseOpenError: The database or its server cannot be reached.
    """
    url = parse_url(settings.database_url)
    engine = (
        _open_sqlite(url, lock_timeout) if url.drivername == "sqlite" else _open_postgresql(url, lock_timeout)
    )
    with read_transaction(engine):
        return engine


def parse_url(text: str) -> URL:
    """Parse and check a database URL.

    Raises:
        DatabaseUrlError: It is no URL, or names a database that Safelight cannot use. The message never contains the
            URL, which may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is no number
        raise DatabaseUrlError from error
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        if find_spec("psycopg") is None:
            raise DatabaseUrlError(
                "PostgreSQL needs the package psycopg.", hint="pip install 'safelight[postgres]'"
            )
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise DatabaseUrlError(f"{url.drivername[:40]!r} is no database that Safelight can use.")
    if url.query or not Path(url.database or "").is_absolute():
        raise DatabaseUrlError(
            "SQLite needs a file's absolute path: all processes have to see the same database."
        )
    return url


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction, which sees one snapshot of the database.

    Raises:
        DatabaseError, StorageFullError: As in ``errors.translate_database_errors``.
    """
    with translate_database_errors(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.execution_options(**{_READ_ONLY_OPTION: True})
        with connection.begin():
            yield connection


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed when the block ends, and rolled back on an exception.

    SQLite has one writer at a time: the lock is taken at the start, so what the block read is still valid when it
    writes. In PostgreSQL each statement sees what is committed. Notifications by ``notifications.notify`` within the
    block are sent with the commit.

    Raises:
        DatabaseError, StorageFullError: As in ``errors.translate_database_errors``.
    """
    channels: dict[str, None] = {}
    with translate_database_errors(), engine.begin() as connection:
        connection.execution_options(**{PENDING_OPTION: channels})
        yield connection
        send_before_commit(connection, channels)
    send_after_commit(engine, channels)


def _open_sqlite(url: URL, lock_timeout: float) -> Engine:
    path = Path(url.database or "")
    try:
        create_private_folder(path.parent)
        create_private_file(path)  # SQLite gives its mode to the files beside it
    except OSError as error:
        raise DatabaseOpenError(f"{path} cannot be made: {error.strerror or error}.") from error
    engine = create_engine(
        url,
        connect_args={"timeout": lock_timeout},
        pool_size=_POOL_SIZE,
        pool_timeout=lock_timeout,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # otherwise pysqlite begins transactions itself, and late
        _enable_write_ahead_log(connection, lock_timeout)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY_OPTION, False)
        connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _enable_write_ahead_log(connection: sqlite3.Connection, lock_timeout: float) -> None:
    """Enable the write-ahead log. SQLite does not wait for locks to do so, hence the retries."""
    deadline = time.monotonic() + lock_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _open_postgresql(url: URL, lock_timeout: float) -> Engine:
    engine = create_engine(
        url,
        connect_args={"connect_timeout": max(2, round(lock_timeout))},
        pool_size=_POOL_SIZE,
        pool_timeout=lock_timeout,
        pool_pre_ping=True,  # the server may have restarted
        hide_parameters=True,
    )

    @event.listens_for(engine, "do_connect")
    def with_patience(_dialect: object, _record: object, _args: object, params: dict[str, object]) -> None:
        # a generic plan scans a whole table for a word that does not occur
        options = f"-c plan_cache_mode=force_custom_plan -c lock_timeout={round(lock_timeout * 1000)}"
        params["options"] = f"{options} {params.get('options', '')}"

    return engine
