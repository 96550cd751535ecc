"""What may pass is waited for, as a database that is away: hours of drawing must not get lost for a minute's outage."""

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
"""Seconds between two tries."""
PUZZLED = 60.0
"""Seconds for which an error is waited for that need not pass: only its text says what it is."""

FULL = 3600.0
"""Seconds for which a full disk is waited for: somebody has to make space."""
SAY_EVERY = 60.0
"""Seconds between two lines in the log of the same wait: the log may be on the disk that is full."""

Result = TypeVar("Result")


def retry_transient(
    do: Callable[[], Result],
    given_up: Callable[[], bool] = lambda: False,
    *,
    always: bool = False,
    waiting: Callable[[DatabaseError], None] = lambda _: None,
) -> Result:
    """Use the database, and try again while it cannot be used; returns what came of it.

    Args:
        do: Reads or writes; may be done more than once.
        given_up: Asked between two tries; true ends them.
        always: Wait whatever is wrong, for as long as it takes: there is nobody whom it could be told.
        waiting: Told now and then what is waited for.

    Raises:
        DatabaseError: It was given up, or waiting does not help.
    """
    began, said = time.monotonic(), -SAY_EVERY
    while True:
        try:
            return do()
        except DatabaseError as error:
            waited = time.monotonic() - began
            if given_up() or not (always or _passes(error, waited)):
                raise
            if waited - said >= SAY_EVERY:
                said = waited
                get_logger(__name__).warning("the database cannot be used", error=error.message)
                waiting(error)
            time.sleep(RETRY_EVERY)


def _passes(error: DatabaseError, waited: float) -> bool:
    """Whether an error may pass, after so many seconds of it."""
    if isinstance(error, DatabaseDamagedError | DatabaseVersionError):
        return False
    if isinstance(error, StorageFullError):
        return waited < FULL
    return isinstance(error, DatabaseBusyError | DatabaseOpenError) or waited < PUZZLED
