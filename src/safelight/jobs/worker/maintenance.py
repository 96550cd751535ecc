"""Periodic maintenance by every worker: requeue the jobs of lost workers, and delete what has expired."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from safelight.errors import DatabaseError, SafelightError
from safelight.jobs.queue.claims import LEASE
from safelight.jobs.queue_service import QueueService
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger

SWEEP_EVERY = 2.0
"""Seconds between two checks for jobs of lost workers."""
CLEAN_EVERY = 3600.0
"""Seconds between two deletions of what has expired."""
CLOCK_JUMP = 1.0
"""Seconds by which wall clock and monotonic clock may diverge between two checks."""


class ClockWatch:
    """Detects changes of the clock, just after which all leases look expired (also after a machine slept).

    Args:
        clock: Returns the time by the clock that leases use.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._offset: float | None = None
        self._trusted_from = 0.0

    def trusted(self) -> bool:
        """Whether every live worker has had time to renew its leases since the clock last jumped.

        Raises:
            DatabaseError: The clock cannot be read.
        """
        started = time.monotonic()
        offset = self._clock().timestamp() - started
        ended = time.monotonic()
        if self._offset is not None and abs(offset - self._offset) > CLOCK_JUMP + (ended - started):
            self._trusted_from = ended + LEASE
        self._offset = offset
        return ended >= self._trusted_from


class Sweeper:
    """Requeues the jobs of lost workers, and deletes what has expired.

    Args:
        service: The queue and the gallery.
        company: The jobs that this worker is running, which are never requeued, however late their lease was renewed.
    """

    def __init__(self, service: QueueService, company: RunningJobs) -> None:
        self._service, self._company = service, company
        self._watch = ClockWatch(service.now)
        self._swept = self._cleaned = -CLEAN_EVERY
        self._cleaner: threading.Thread | None = None

    @property
    def due_in(self) -> float:
        """Seconds until the next task is due."""
        return max(0.0, self._swept + SWEEP_EVERY - time.monotonic())

    def run(self) -> None:
        """Run the tasks that are due."""
        now = time.monotonic()
        if now - self._swept >= SWEEP_EVERY:
            self._swept = now
            self.sweep()
        if now - self._cleaned >= CLEAN_EVERY:
            self._cleaned = now
            self.start_cleaning()

    def sweep(self) -> None:
        """Requeue the jobs of lost workers."""
        try:
            if self._watch.trusted():
                self._service.store.take_back(but=[running.job.id for running in self._company.members])
        except DatabaseError as error:
            get_logger(__name__).warning("not swept", error=error.message)

    def start_cleaning(self) -> None:
        """Delete what has expired, in a thread since it may take minutes; only one runs at a time."""
        if self._cleaner is None or not self._cleaner.is_alive():
            self._cleaner = threading.Thread(target=self._clean, daemon=True, name="cleaner")
            self._cleaner.start()

    def _clean(self) -> None:
        try:
            self._service.clean()
        except SafelightError as error:
            get_logger(__name__).warning("not cleaned", error=error.message)
