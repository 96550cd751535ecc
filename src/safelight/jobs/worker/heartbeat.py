"""The thread of a worker that sends heartbeats; a worker without heartbeats counts as lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from safelight.errors import DatabaseError
from safelight.jobs.queue.claims import LEASE
from safelight.jobs.queue_service import QueueService
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger

INTERVAL = LEASE / 3
"""Seconds between two heartbeats."""
RETRY_AFTER = 1.0
"""Seconds after which a failed heartbeat is retried."""


class Heartbeat:
    """Renews the lease of each running job, and registers the worker.

    Args:
        service: The queue.
        worker: The worker's name.
        company: The jobs that the worker is running.
        describe: Returns the worker's description.
        kept: Whether this process still holds the worker's name.
        replaced: Called when another process has taken the name; no more heartbeats are sent.
    """

    def __init__(
        self,
        service: QueueService,
        worker: str,
        company: RunningJobs,
        describe: Callable[[], Mapping[str, Any]],
        *,
        kept: Callable[[], bool] = lambda: True,
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._worker, self._company, self._describe = service, worker, company, describe
        self._kept, self._replaced = kept, replaced
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
        self._log = get_logger(__name__)

    def start(self) -> None:
        """Start sending heartbeats."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending heartbeats."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            pause = INTERVAL if self.beat() else RETRY_AFTER

    def beat(self) -> bool:
        """Renew the leases and pass on the jobs' signals; False if the database could not be used."""
        if not self._kept():
            self._log.error("another process is this worker now", worker=self._worker)
            self._over.set()
            self._replaced()
            return False
        skip_counts = [(running, running.skips) for running in self._company.members]
        try:
            signals = self._service.store.renew(self._worker, [running.job for running, _ in skip_counts])
            self._service.register_worker(self._worker, self._describe())
        except DatabaseError as error:
            self._log.warning("no heartbeat", error=error.message)
            return False
        for running, skip_count in skip_counts:
            running.hear(signals.get(running.job.id), skip_count)
        return True

    def describe(self) -> None:
        """Register the worker's description without waiting for the next heartbeat."""
        try:
            self._service.register_worker(self._worker, self._describe())
        except DatabaseError as error:
            self._log.warning("worker not registered", error=error.message)
