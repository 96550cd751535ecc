"""Periodic maintenance by every worker: requeue the jobs of lost workers, and delete what has expired."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from safelight.errors import DatabaseError, SafelightError
from safelight.jobs.queue.claims import LEASE_SECONDS
from safelight.jobs.queue_service import QueueService
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger

RECLAIM_INTERVAL = 2.0
"""Seconds between two checks for jobs of lost workers."""
CLEANUP_INTERVAL = 3600.0
"""Seconds between two deletions of what has expired."""
CLOCK_JUMP = 1.0
"""Seconds by which wall clock and monotonic clock may diverge between two checks."""


class ClockMonitor:
    """Detects changes of the clock, just after which all leases look expired (also after a machine slept).

    Args:
        clock: Returns the time by the clock that leases use.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._offset: float | None = None
        self._trusted_from = 0.0

    def is_trusted(self) -> bool:
        """Whether every live worker has had time to renew its leases since the clock last jumped.

        Raises:
            DatabaseError: The clock cannot be read.
        """
        started = time.monotonic()
        offset = self._clock().timestamp() - started
        ended = time.monotonic()
        if self._offset is not None and abs(offset - self._offset) > CLOCK_JUMP + (ended - started):
            self._trusted_from = ended + LEASE_SECONDS
        self._offset = offset
        return ended >= self._trusted_from


class Maintenance:
    """Requeues the jobs of lost workers, and deletes what has expired.

    Args:
        service: The queue and the gallery.
        running_jobs: The jobs that this worker is running, which are never requeued, however late their lease was
            renewed.
    """

    def __init__(self, service: QueueService, running_jobs: RunningJobs) -> None:
        self._service, self._running_jobs = service, running_jobs
        self._clock_monitor = ClockMonitor(service.now)
        self._last_reclaim = self._last_cleanup = -CLEANUP_INTERVAL
        self._cleanup_thread: threading.Thread | None = None

    @property
    def seconds_until_due(self) -> float:
        """Seconds until the next task is due."""
        return max(0.0, self._last_reclaim + RECLAIM_INTERVAL - time.monotonic())

    def run_due(self) -> None:
        """Run the tasks that are due."""
        now = time.monotonic()
        if now - self._last_reclaim >= RECLAIM_INTERVAL:
            self._last_reclaim = now
            self.reclaim_lost_jobs()
        if now - self._last_cleanup >= CLEANUP_INTERVAL:
            self._last_cleanup = now
            self.start_cleanup()

    def reclaim_lost_jobs(self) -> None:
        """Requeue the jobs of lost workers."""
        try:
            if self._clock_monitor.is_trusted():
                self._service.store.reclaim(exclude=[running.job.id for running in self._running_jobs.jobs])
        except DatabaseError as error:
            get_logger(__name__).warning("not swept", error=error.message)

    def start_cleanup(self) -> None:
        """Delete what has expired, in a thread since it may take minutes; only one runs at a time."""
        if self._cleanup_thread is None or not self._cleanup_thread.is_alive():
            self._cleanup_thread = threading.Thread(target=self._delete_expired, daemon=True, name="cleaner")
            self._cleanup_thread.start()

    def _delete_expired(self) -> None:
        try:
            self._service.delete_expired()
        except SafelightError as error:
            get_logger(__name__).warning("not cleaned", error=error.message)
