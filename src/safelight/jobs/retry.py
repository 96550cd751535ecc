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

RETRY_EVERY = 1.0
"""Seconds between two attempts."""
PUZZLED = 60.0
"""Seconds for which an unknown error is retried: it may be permanent, and only its text says what it is."""

FULL = 3600.0
"""Seconds for which a full disk is retried: somebody has to free space."""
SAY_EVERY = 60.0
"""Seconds between two log lines of one wait: the log may be on the full disk."""

ResultT = TypeVar("ResultT")


def retry_transient(
    do: Callable[[], ResultT],
    given_up: Callable[[], bool] = lambda: False,
    *,
    always: bool = False,
    waiting: Callable[[DatabaseError], None] = lambda _: None,
) -> ResultT:
    """Run a database operation, and retry it while the error may be temporary; returns its result.

    Args:
        do: The operation; it may run more than once.
        given_up: Called between attempts; True ends them.
        always: Retry all errors without a time limit, for operations whose error nobody could receive.
        waiting: Called with the error at intervals while the operation is retried.

    Raises:
        DatabaseError: ``given_up`` returned True, or the error is permanent.
    """
    started, last_logged = time.monotonic(), -SAY_EVERY
    while True:
        try:
            return do()
        except DatabaseError as error:
            waited = time.monotonic() - started
            if given_up() or not (always or _passes(error, waited)):
                raise
            if waited - last_logged >= SAY_EVERY:
                last_logged = waited
                get_logger(__name__).warning("the database cannot be used", error=error.message)
                waiting(error)
            time.sleep(RETRY_EVERY)


def _passes(error: DatabaseError, waited: float) -> bool:
    """Whether an error that has lasted so many seconds may be temporary."""
    if isinstance(error, DatabaseDamagedError | DatabaseVersionError):
        return False
    if isinstance(error, StorageFullError):
        return waited < FULL
    return isinstance(error, DatabaseBusyError | DatabaseOpenError) or waited < PUZZLED
