"""The thread of a worker that sends heartbeats; a worker without heartbeats counts as lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from safelight.errors import DatabaseError
from safelight.jobs.queue.claims import LEASE_SECONDS
from safelight.jobs.queue_service import QueueService
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger

HEARTBEAT_INTERVAL = LEASE_SECONDS / 3
"""Seconds between two heartbeats."""
RETRY_INTERVAL = 1.0
"""Seconds after which a failed heartbeat is retried."""


class Heartbeat:
    """Renews the lease of each running job, and registers the worker.

    Args:
        service: The queue.
        worker: The worker's name.
        running_jobs: The jobs that the worker is running.
        register: Returns the worker's description.
        holds_name: Whether this process still holds the worker's name.
        on_replaced: Called when another process has taken the name; no more heartbeats are sent.
    """

    def __init__(
        self,
        service: QueueService,
        worker: str,
        running_jobs: RunningJobs,
        describe: Callable[[], Mapping[str, Any]],
        *,
        holds_name: Callable[[], bool] = lambda: True,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._worker, self._running_jobs, self._describe = (
            service,
            worker,
            running_jobs,
            describe,
        )
        self._holds_name, self._on_replaced = holds_name, on_replaced
        self._stopped = threading.Event()
        self._registering = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
        self._log = get_logger(__name__)

    def start(self) -> None:
        """Start sending heartbeats."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending heartbeats; the worker is registered no more after this."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._registering:
            pass  # a thread that began to register has ended

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = HEARTBEAT_INTERVAL if self.beat() else RETRY_INTERVAL

    def beat(self) -> bool:
        """Renew the leases and pass on the jobs' signals; False if the database could not be used."""
        if not self._holds_name():
            self._log.error("another process is this worker now", worker=self._worker)
            self._stopped.set()
            self._on_replaced()
            return False
        skip_counts = [(running, running.skip_count) for running in self._running_jobs.jobs]
        try:
            signals = self._service.store.renew(self._worker, [running.job for running, _ in skip_counts])
            self._service.register_worker(self._worker, self._describe())
        except DatabaseError as error:
            self._log.warning("no heartbeat", error=error.message)
            return False
        for running, skip_count in skip_counts:
            running.receive_signal(signals.get(running.job.id), skip_count)
        return True

    def register(self) -> None:
        """Register the worker's description without waiting for the next heartbeat, unless the worker is stopping."""
        with self._registering:
            if self._stopped.is_set():
                return
            try:
                self._service.register_worker(self._worker, self._describe())
            except DatabaseError as error:
                self._log.warning("worker not registered", error=error.message)
