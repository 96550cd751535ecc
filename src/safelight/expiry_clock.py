"""A clock for expiry times: setting the system clock forward must not delete at once what was to be kept for days."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from safelight.logs import get_logger

JUMP_TOLERANCE = 60.0
"""Seconds by which the system clock may run ahead of the monotonic clock between two calls without being distrusted."""
DISTRUST_SECONDS = 7 * 86400.0
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
        self._offset = present.timestamp() - _elapsed()
        self._distrusted_since: float | None = None

    def at(self, present: datetime) -> datetime:
        """The time to compare with.

        Args:
            present: The time by the database's clock.

        Returns:
            That time, or an earlier one.
        """
        with self._lock:
            passed = _elapsed()
            jump = present.timestamp() - passed - self._offset
            if jump <= JUMP_TOLERANCE:
                self._trust(self._offset + jump)
            elif self._distrusted_since is None:
                self._distrusted_since = passed
                get_logger(__name__).warning(
                    "the clock was set forward: nothing expires by it yet", seconds=round(jump)
                )
            elif passed - self._distrusted_since >= DISTRUST_SECONDS:
                self._trust(self._offset + jump)
            return datetime.fromtimestamp(passed + self._offset, UTC)

    def _trust(self, offset: float) -> None:
        self._offset, self._distrusted_since = offset, None


def _elapsed() -> float:
    """Seconds since an arbitrary moment, unaffected by changes of the system clock."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)  # includes sleep, unlike Linux's monotonic clock
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)
