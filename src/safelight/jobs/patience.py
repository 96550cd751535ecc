"""A database that is away for a while is waited for: hours of drawing must not get lost for a minute's outage."""

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
from safelight.logs import logger

RETRY_EVERY = 1.0
"""Seconds between two tries."""
PUZZLED = 60.0
"""Seconds for which an error is waited for that need not pass: only its text says what it is."""

Result = TypeVar("Result")


def patiently(
    do: Callable[[], Result], given_up: Callable[[], bool] = lambda: False, *, always: bool = False
) -> Result:
    """Use the database, and try again while it cannot be used; returns what came of it.

    Args:
        do: Reads or writes; may be done more than once.
        given_up: Asked between two tries; true ends them.
        always: Wait whatever is wrong, also for a full disk: there is nobody whom it could be told.

    Raises:
        DatabaseError: It was given up, or waiting does not help.
    """
    began = time.monotonic()
    while True:
        try:
            return do()
        except DatabaseError as error:
            if given_up() or not (always or _passes(error, time.monotonic() - began)):
                raise
            logger(__name__).warning("the database cannot be used", error=error.message)
            time.sleep(RETRY_EVERY)


def _passes(error: DatabaseError, waited: float) -> bool:
    """Whether an error may pass, after so many seconds of it."""
    if isinstance(error, DatabaseDamagedError | DatabaseVersionError | StorageFullError):
        return False
    return isinstance(error, DatabaseBusyError | DatabaseOpenError) or waited < PUZZLED
