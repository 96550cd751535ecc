"""The data directory of a server: one server at a time uses it, and nobody else on the machine reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safelight.database.engine import parse_url
from safelight.database.exclusive import this_process
from safelight.errors import HomeError, HomeInUseError
from safelight.locks import FileLock
from safelight.private import close_to_others, keep_private, private_folder
from safelight.settings import Settings

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


def database_files(settings: Settings) -> list[Path]:
    """The files of the settings' database, which may lie elsewhere; none of PostgreSQL's."""
    url = parse_url(settings.database_url)
    return [Path(f"{url.database}{side}") for side in SIDES] if url.drivername == "sqlite" else []
