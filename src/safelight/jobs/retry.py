"""Retries of database operations on temporary errors: a short outage must not lose hours of generation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from safelight.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseOpenError,
    DatabaseVersionError,
    StorageFullError,
)
from safelight.logs import get_logger

RETRY_INTERVAL = 1.0
"""Seconds between two attempts."""
UNKNOWN_ERROR_TIMEOUT = 60.0
"""Seconds for which an unknown error is retried: it may be permanent, and only its text says what it is."""

STORAGE_FULL_TIMEOUT = 3600.0
"""Seconds for which a full disk is retried: somebody has to free space."""
LOG_INTERVAL = 60.0
"""Seconds between two log lines of one wait: the log may be on the full disk."""

ResultT = TypeVar("ResultT")


def retry_transient(
    operation: Callable[[], ResultT],
    should_stop: Callable[[], bool] = lambda: False,
    *,
    retry_all: bool = False,
    on_wait: Callable[[DatabaseError], None] = lambda _: None,
) -> ResultT:
    """Run a database operation, and retry it while the error may be temporary; returns its result.

    Args:
        operation: The operation; it may run more than once.
        should_stop: Called between attempts; True ends them.
        retry_all: Retry all errors without a time limit, for operations whose error nobody could receive.
        on_wait: Called with the error at intervals while the operation is retried.

    Raises:
        DatabaseError: ``should_stop`` returned True, or the error is permanent.
    """
    started, last_logged = time.monotonic(), -LOG_INTERVAL
    while True:
        try:
            return operation()
        except DatabaseError as error:
            waited = time.monotonic() - started
            if should_stop() or not (retry_all or _is_transient(error, waited)):
                raise
            if waited - last_logged >= LOG_INTERVAL:
                last_logged = waited
                get_logger(__name__).warning("the database cannot be used", error=error.message)
                on_wait(error)
            time.sleep(RETRY_INTERVAL)


def _is_transient(error: DatabaseError, elapsed: float) -> bool:
    """Whether an error that has lasted so many seconds may be temporary."""
    if isinstance(error, DatabaseDamagedError | DatabaseVersionError):
        return False
    if isinstance(error, StorageFullError):
        return elapsed < STORAGE_FULL_TIMEOUT
    return isinstance(error, DatabaseBusyError | DatabaseOpenError) or elapsed < UNKNOWN_ERROR_TIMEOUT
