"""Checks before the server starts: exclusive use of the data directory, and a usable database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safelight.database.engine import open_database, parse_url
from safelight.database.named_lock import describe_process
from safelight.database.schema import check_version
from safelight.errors import DatabaseError, DatabaseOpenError, DataDirectoryError, DataDirectoryInUseError
from safelight.file_locks import FileLock
from safelight.file_permissions import create_private_folder, remove_others_permissions, set_private_umask
from safelight.jobs.supervisor import is_temporary
from safelight.logs import get_logger
from safelight.settings import Settings

DATABASE_TIMEOUT = 5.0
"""Seconds to wait for an unavailable database before the server starts without it."""
SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Suffixes of a SQLite database's files."""


@contextmanager
def exclusive_home(settings: Settings) -> Iterator[None]:
    """Lock the data directory for this process, and make it private to its user.

    Raises:
        DataDirectoryInUseError: Another server uses the directory; nothing in it was changed.
        DataDirectoryError: The directory cannot be used.
    """
    lock = FileLock(settings.home / "locks" / "server.lock")
    try:
        set_private_umask()
        create_private_folder(lock.path.parent)
        if not lock.acquire(describe_process()):
            raise DataDirectoryInUseError(f"{settings.home} is used by {lock.holder()}.")
        remove_others_permissions(settings.home, *database_files(settings))
    except OSError as error:
        raise DataDirectoryError(f"{error.filename or settings.home}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


def check_database(settings: Settings) -> bool:
    """Raise if the database cannot be used, so that the processes of the server don't fail one after the other.

    Returns:
        Whether the database can be used now; False if it may become available, and the server is to wait for it.

    Raises:
        DatabaseDamagedError, DatabaseVersionError, DatabaseOpenError: The database cannot be used, now or later.
        DatabaseUrlError: The setting is no database URL.
    """
    try:
        engine = open_database(settings, lock_timeout=DATABASE_TIMEOUT)
        try:
            check_version(engine)
        finally:
            engine.dispose()
    except DatabaseError as error:
        is_sqlite = isinstance(error, DatabaseOpenError) and database_files(settings)
        if is_sqlite or not is_temporary(error):
            raise
        get_logger(__name__).warning("the database is waited for", error=error.message)
        return False
    return True


def database_files(settings: Settings) -> list[Path]:
    """The files of a SQLite database, which may lie outside the data directory; none for PostgreSQL."""
    url = parse_url(settings.database_url)
    return [Path(f"{url.database}{side}") for side in SQLITE_SUFFIXES] if url.drivername == "sqlite" else []
