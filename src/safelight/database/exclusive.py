"""Names that one process at a time may go by, among all who use a database.

With SQLite that is a locked file beside the database, for all who use it see the same folder. With PostgreSQL it is an
advisory lock of the server's, which ends with the connection that has it; PgBouncer must not share connections out by
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
from safelight.database.errors import explained
from safelight.file_locks import FileLock
from safelight.file_permissions import create_private_folder
from safelight.settings import Settings

LOCKS = 0x5AFF
"""The first of the two numbers of these locks in PostgreSQL; those of ``hosts.py`` have another."""
LOOK_EVERY = 0.5
"""Seconds between two tries to get a name that is waited for."""
_ALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4"
"""The server finds out within half a minute that a host is gone, and gives its locks to others."""


class ExclusiveName(Protocol):
    """A name that one process at a time has."""

    def acquire(self, patience: float = 0.0) -> bool:
        """Take it, or wait so many seconds for it; False if somebody else has it.

        Raises:
            DatabaseError, OSError: It cannot be found out.
        """

    def kept(self) -> bool:
        """Whether nobody else has it now, as far as can be known; taken again where a connection was lost."""

    def holder(self) -> str:
        """Who has it, in a few words."""

    def release(self) -> None:
        """Give it back."""


def exclusive_name(settings: Settings, name: str) -> ExclusiveName:
    """A name among all who use the settings' database; nobody has it yet.

    Raises:
        DatabaseUrlError: The setting names no database that Safelight can use.
    """
    url = parse_url(settings.database_url)
    if url.drivername == "sqlite":
        return _LockedFile(Path(url.database or "").parent / "locks", name)
    return _AdvisoryLock(url, name)


def this_process() -> str:
    """For others to read who was faster."""
    return f"process {os.getpid()} on {platform.node()}"


class _LockedFile:
    def __init__(self, folder: Path, name: str) -> None:
        self._lock = FileLock(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock")

    def acquire(self, patience: float = 0.0) -> bool:
        create_private_folder(self._lock.path.parent)
        return self._lock.acquire(this_process(), patience)

    def kept(self) -> bool:
        return True  # the operating system sees to it

    def holder(self) -> str:
        return self._lock.holder()

    def release(self) -> None:
        self._lock.release()


class _AdvisoryLock:
    def __init__(self, url: URL, name: str) -> None:
        self._key = {"lock": LOCKS, "name": int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)}
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": this_process()[:63], "options": _ALIVE},
            hide_parameters=True,
        )
        self._connection: Connection | None = None  # the one that has the lock
        self._session: int | None = None  # its process at the server

    def acquire(self, patience: float = 0.0) -> bool:
        deadline = time.monotonic() + patience
        with explained():
            while not self._take():
                if time.monotonic() >= deadline:
                    return False
                time.sleep(LOOK_EVERY)
        return True

    def kept(self) -> bool:
        try:
            if self._connection is not None and self._ask(self._connection, "SELECT true"):
                return True
        except SQLAlchemyError:
            self._drop()
        try:
            # what broke on the way may still be a session with the lock at the other end
            return self._take() or self._holding("pid") in (self._session, None)
        except SQLAlchemyError:  # the server is away: nobody else can take it either
            return True

    def holder(self) -> str:
        with explained():
            return str(self._holding("application_name") or "another process")

    def release(self) -> None:
        self._drop()
        self._engine.dispose()

    def _take(self) -> bool:
        connection = self._engine.connect()
        if not self._ask(connection, "SELECT pg_try_advisory_lock(:lock, :name)"):
            connection.close()
            return False
        self._connection = connection
        self._session = int(str(self._ask(connection, "SELECT pg_backend_pid()")))
        return True

    def _holding(self, what: Literal["pid", "application_name"]) -> object:
        """Something of the session that has the lock."""
        with self._engine.connect() as connection:
            return self._ask(
                connection,
                f"SELECT s.{what} FROM pg_locks l JOIN pg_stat_activity s USING (pid) "  # noqa: S608
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = :lock "
                "AND l.objid = :name AND s.datname = current_database()",
            )

    def _ask(self, connection: Connection, question: str) -> object:
        return connection.execute(text(question), self._key).scalar()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
