"""Conversion of the database libraries' errors to ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from safelight.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseOpenError,
    SafelightError,
    StorageFullError,
)

_SQLITE_ERRORS = {
    sqlite3.SQLITE_BUSY: DatabaseBusyError,
    sqlite3.SQLITE_LOCKED: DatabaseBusyError,
    sqlite3.SQLITE_FULL: StorageFullError,
    sqlite3.SQLITE_CANTOPEN: DatabaseOpenError,
    sqlite3.SQLITE_NOTADB: DatabaseDamagedError,
    sqlite3.SQLITE_CORRUPT: DatabaseDamagedError,
    sqlite3.SQLITE_FORMAT: DatabaseDamagedError,
    sqlite3.SQLITE_PERM: DatabaseOpenError,
    sqlite3.SQLITE_READONLY: DatabaseOpenError,
}
_POSTGRESQL_ERRORS = {
    "53100": StorageFullError,  # disk_full
    "55P03": DatabaseBusyError,  # lock_not_available
    "40001": DatabaseBusyError,  # serialization_failure
    "40P01": DatabaseBusyError,  # deadlock_detected
    "53300": DatabaseBusyError,  # too_many_connections
    "XX001": DatabaseDamagedError,  # data_corrupted
    "XX002": DatabaseDamagedError,  # index_corrupted
}


@contextmanager
def translate_database_errors() -> Iterator[None]:
    """Convert the libraries' errors to ours; an integrity error is raised unchanged.

    Raises:
        DatabaseError: The database cannot do what was asked.
        StorageFullError: The disk is full.
        IntegrityError: SQLAlchemy's own: only the caller knows what a duplicate row means.
    """
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise to_safelight_error(error) from error


def to_safelight_error(error: SQLAlchemyError) -> SafelightError:
    """Our error for one of SQLAlchemy's; its message never contains a statement, a value or a password."""
    if isinstance(error, PoolTimeoutError):
        return DatabaseBusyError("All connections to the database are in use.")
    if not isinstance(error, DBAPIError) or error.orig is None:
        return DatabaseError(f"The database cannot be used: {type(error).__name__}.")
    message = str(error.orig).strip().partition("\n")[0]
    return _error_class(error, error.orig)(f"The database says: {message.rstrip('.')}.")


def _error_class(error: DBAPIError, original: BaseException) -> type[SafelightError]:
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", None)  # absent for errors of Python's module itself
        return _SQLITE_ERRORS.get(0 if code is None else code & 0xFF, DatabaseError)
    state: str | None = getattr(original, "sqlstate", None)
    if error.connection_invalidated or (state is None and type(original).__name__ == "OperationalError"):
        return DatabaseOpenError  # the server cannot be reached
    if state is not None and state[:2] in ("08", "57"):  # connection_exception, operator_intervention
        return DatabaseOpenError
    return _POSTGRESQL_ERRORS.get(state or "", DatabaseError)
