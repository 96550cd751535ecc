"""Named locks between all processes that use one database.

With SQLite a lock is a locked file beside the database, since all processes use the same folder. With PostgreSQL it
is an advisory lock of the server, which ends with its connection; PgBouncer must not pool connections per
transaction.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from pathlib import Path
from typing import Literal, Protocol

from sqlalchemy import URL, Connection, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from safelight.database.engine import parse_url
from safelight.database.errors import translate_database_errors
from safelight.file_locks import FileLock
from safelight.file_permissions import create_private_folder
from safelight.settings import Settings

LOCK_NAMESPACE = 0x5AFF
"""The first of the two numbers of these locks in PostgreSQL; those of ``coordination.py`` have another."""
RETRY_INTERVAL = 0.5
"""Seconds between two attempts to take a lock."""
_KEEPALIVE_OPTIONS = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4"
"""With these the server detects within half a minute that a host is gone, and releases its locks."""


class NamedLock(Protocol):
    """A lock that at most one process holds."""

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock, waiting up to ``timeout`` seconds; False if another process holds it.

        Raises:
            DatabaseError, OSError: The lock cannot be checked.
        """

    def is_held(self) -> bool:
        """Whether no other process holds it, as far as is known; it is taken again after a lost connection."""

    def holder(self) -> str:
        """A short description of the process that holds it."""

    def release(self) -> None:
        """Release the lock."""


def create_named_lock(settings: Settings, name: str) -> NamedLock:
    """A lock between all processes that use the settings' database; it is not taken yet.

    Raises:
        DatabaseUrlError: Safelight cannot use the database that the setting names.
    """
    url = parse_url(settings.database_url)
    if url.drivername == "sqlite":
        return _NamedFileLock(Path(url.database or "").parent / "locks", name)
    return _AdvisoryLock(url, name)


def describe_process() -> str:
    """A description of this process, for those that wait for its lock."""
    return f"process {os.getpid()} on {platform.node()}"


class _NamedFileLock:
    def __init__(self, folder: Path, name: str) -> None:
        self._lock = FileLock(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock")

    def acquire(self, timeout: float = 0.0) -> bool:
        create_private_folder(self._lock.path.parent)
        return self._lock.acquire(describe_process(), timeout)

    def is_held(self) -> bool:
        return True  # the operating system ensures it

    def holder(self) -> str:
        return self._lock.holder()

    def release(self) -> None:
        self._lock.release()


class _AdvisoryLock:
    def __init__(self, url: URL, name: str) -> None:
        self._key = {"lock": LOCK_NAMESPACE, "name": int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)}
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": describe_process()[:63], "options": _KEEPALIVE_OPTIONS},
            hide_parameters=True,
        )
        self._connection: Connection | None = None  # the connection that holds the lock
        self._backend_pid: int | None = None  # its server process

    def acquire(self, timeout: float = 0.0) -> bool:
        deadline = time.monotonic() + timeout
        with translate_database_errors():
            while not self._try_lock():
                if time.monotonic() >= deadline:
                    return False
                time.sleep(RETRY_INTERVAL)
        return True

    def is_held(self) -> bool:
        try:
            if self._connection is not None and self._query(self._connection, "SELECT true"):
                return True
        except SQLAlchemyError:
            self._disconnect()
        try:
            # the server may still have the session of a connection that broke
            return self._try_lock() or self._query_holder("pid") in (self._backend_pid, None)
        except SQLAlchemyError:  # the server cannot be reached: no other process can take it
            return True

    def holder(self) -> str:
        with translate_database_errors():
            return str(self._query_holder("application_name") or "another process")

    def release(self) -> None:
        self._disconnect()
        self._engine.dispose()

    def _try_lock(self) -> bool:
        connection = self._engine.connect()
        if not self._query(connection, "SELECT pg_try_advisory_lock(:lock, :name)"):
            connection.close()
            return False
        self._connection = connection
        self._backend_pid = int(str(self._query(connection, "SELECT pg_backend_pid()")))
        return True

    def _query_holder(self, column: Literal["pid", "application_name"]) -> object:
        """A column of the session that holds the lock."""
        with self._engine.connect() as connection:
            return self._query(
                connection,
                f"SELECT s.{column} FROM pg_locks l JOIN pg_stat_activity s USING (pid) "  # noqa: S608
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = :lock "
                "AND l.objid = :name AND s.datname = current_database()",
            )

    def _query(self, connection: Connection, statement: str) -> object:
        return connection.execute(text(statement), self._key).scalar()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
