"""A clock for expiry times: setting the system clock forward must not delete at once what was to be kept for days."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from safelight.logs import logger

TOLERANCE = 60.0
"""Seconds by which the system clock may run ahead of the monotonic clock between two calls without being distrusted."""
DOUBTED_FOR = 7 * 86400.0
"""Seconds after which a system clock that was set forward is trusted: enough time for somebody to correct it."""


class ExpiryClock:
    """The time that decides what has expired. Thread-safe.

    It follows the database's clock, with one exception: if that is set forward while this process runs, this clock
    ignores the jump for a week. So things expire late, never early. Time in which the machine sleeps counts where the
    system can tell it.

    Args:
        present: The time by the database's clock.
    """

    def __init__(self, present: datetime) -> None:
        self._lock = threading.Lock()
        self._offset = present.timestamp() - _passed()
        self._doubted_since: float | None = None

    def at(self, present: datetime) -> datetime:
        """The time to compare with.

        Args:
            present: The time by the database's clock.

        Returns:
            That time, or an earlier one.
        """
        with self._lock:
            passed = _passed()
            jump = present.timestamp() - passed - self._offset
            if jump <= TOLERANCE:
                self._believe(self._offset + jump)
            elif self._doubted_since is None:
                self._doubted_since = passed
                logger(__name__).warning(
                    "the clock was set forward: nothing expires by it yet", seconds=round(jump)
                )
            elif passed - self._doubted_since >= DOUBTED_FOR:
                self._believe(self._offset + jump)
            return datetime.fromtimestamp(passed + self._offset, UTC)

    def _believe(self, offset: float) -> None:
        self._offset, self._doubted_since = offset, None


def _passed() -> float:
    """Seconds since an arbitrary moment, unaffected by changes of the system clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)  # includes sleep, unlike Linux's monotonic clock
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)
