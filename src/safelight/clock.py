"""The time by which things expire: a clock that is set forward must not delete at once what was to stay for days."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from safelight.logs import logger

TOLERANCE = 60.0
"""Seconds that the time of day may gain on time itself between two looks without being doubted."""
DOUBTED_FOR = 7 * 86400.0
"""Seconds after which a time of day that was set forward is believed: enough for somebody to set it right."""


class ExpiryClock:
    """The time by which it is decided what is too old. Threads may share it.

    It is the database's, with one exception: when that is set forward while this process runs, the clock goes on as
    before for a week. So what expires does so late, and never early. Sleep counts as time, where the system can tell.

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
    """Seconds that have passed since some moment, however clocks were set."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)  # counts sleep, which Linux's monotonic clock does not
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)
