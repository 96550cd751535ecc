"""What a server begins with: a data directory that it has to itself, and a database that can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safelight.database.engine import open_database, parse_url
from safelight.database.exclusive import this_process
from safelight.database.schema import refuse_newer
from safelight.errors import DatabaseError, DatabaseOpenError, HomeError, HomeInUseError
from safelight.jobs.supervisor import passes
from safelight.locks import FileLock
from safelight.logs import logger
from safelight.private import close_to_others, keep_private, private_folder
from safelight.settings import Settings

PATIENCE = 5.0
"""Seconds to wait for a database that is away before the server is started without it."""
SIDES = ("", "-wal", "-shm", "-journal")
"""What SQLite adds to the names of the files beside a database."""


@contextmanager
def own_home(settings: Settings) -> Iterator[None]:
    """Use the data directory alone while the block lasts, and close it to others.

    Raises:
        HomeInUseError: Another server uses it; nothing in it was touched.
        HomeError: It cannot be used.
    """
    lock = FileLock(settings.home / "locks" / "server.lock")
    try:
        keep_private()
        private_folder(lock.path.parent)
        if not lock.acquire(this_process()):
            raise HomeInUseError(f"{settings.home} is used by {lock.holder()}.")
        close_to_others(settings.home, *database_files(settings))
    except OSError as error:
        raise HomeError(f"{error.filename or settings.home}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


def check_database(settings: Settings) -> bool:
    """Refuse to start on a database that every process would end on, one after the other.

    Returns:
        Whether it can be used; False for one that may be there later, which is waited for.

    Raises:
        DatabaseDamagedError, DatabaseVersionError, DatabaseOpenError: It cannot be used, now or later.
        DatabaseUrlError: The setting names none.
    """
    try:
        engine = open_database(settings, patience=PATIENCE)
        try:
            refuse_newer(engine)
        finally:
            engine.dispose()
    except DatabaseError as error:
        of_a_file = isinstance(error, DatabaseOpenError) and database_files(settings)
        if of_a_file or not passes(error):
            raise
        logger(__name__).warning("the database is waited for", error=error.message)
        return False
    return True


def database_files(settings: Settings) -> list[Path]:
    """The files of the settings' database, which may lie elsewhere; none of PostgreSQL's."""
    url = parse_url(settings.database_url)
    return [Path(f"{url.database}{side}") for side in SIDES] if url.drivername == "sqlite" else []
