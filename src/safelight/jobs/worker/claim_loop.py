"""The thread of a worker that claims jobs: one at a time, as soon as the next one may run beside the running jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from safelight.errors import DatabaseError
from safelight.jobs.job import Job
from safelight.jobs.queue.store import JobStore
from safelight.jobs.retry import retry_transient
from safelight.jobs.worker.residency import Residency
from safelight.jobs.worker.running_job import RunningJob
from safelight.jobs.worker.running_jobs import MAX_PAUSED, RunningJobs
from safelight.logs import get_logger

POLL_INTERVAL = 1.0
"""Seconds between two polls of the queue while jobs are running, in addition to notifications."""

ResultT = TypeVar("ResultT")


class ClaimLoop:
    """Claims jobs and runs each in a thread of its own.

    Between two claims it also loads and unloads checkpoints as commanded, so that no job starts meanwhile.

    Args:
        store: The store to claim jobs from.
        worker: The worker's name.
        running_jobs: The jobs that the worker is running.
        residency: Loads and unloads checkpoints.
        loaded: Returns the checkpoints in memory.
        run: Runs a job to its end in the calling thread.
        max_seconds: Returns the time limit for every job that starts now, in seconds.
    """

    def __init__(
        self,
        store: JobStore,
        worker: str,
        running_jobs: RunningJobs,
        residency: Residency,
        *,
        loaded: Callable[[], frozenset[str]],
        run: Callable[[RunningJob], None],
        max_seconds: Callable[[], float],
    ) -> None:
        self._store, self._worker, self._running_jobs, self._residency = (
            store,
            worker,
            running_jobs,
            residency,
        )
        self._loaded, self._run_job, self._max_seconds = loaded, run, max_seconds
        self._changed = threading.Event()
        self.stopping = False
        """Whether to claim no more jobs. A signal handler may set it."""
        self._threads = ThreadPoolExecutor(running_jobs.slots + MAX_PAUSED, thread_name_prefix="job")
        self._thread = threading.Thread(target=self._run, daemon=True, name="claims")

    def start(self) -> None:
        """Start claiming jobs."""
        self._thread.start()

    def notify(self) -> None:
        """Check the queue now: a job was submitted or has ended, or a checkpoint is to be loaded."""
        self._changed.set()

    def stop(self, timeout: float) -> None:
        """Stop claiming jobs, and wait up to a timeout for a claim in progress."""
        self.stopping = True
        self.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self.stopping:
            self._changed.wait(self._seconds_to_wait())
            self._changed.clear()
            try:
                self._claim_all()
            except Exception as error:  # noqa: BLE001  the next job may not raise it
                get_logger(__name__).error("a defect", exc_info=error)
                time.sleep(POLL_INTERVAL)
                self.notify()

    def _claim_all(self) -> None:
        while not self.stopping and (running := self.claim()) is not None:
            self._threads.submit(self._run_job, running)

    def _seconds_to_wait(self) -> float | None:
        """Seconds until the next poll; None while no job is running, when only notifications matter."""
        if not self._running_jobs.jobs:
            return None
        return min(POLL_INTERVAL, self._running_jobs.slice_left or POLL_INTERVAL)

    def claim(self) -> RunningJob | None:
        """Load and unload checkpoints as commanded, then claim the next job; None if none may run now."""
        if self._residency.pending:
            if not self._running_jobs.jobs:
                self._residency.execute_pending(lambda: self.stopping)
            elif self._running_jobs.preemption() is None:
                return None  # a load precedes the next job, and follows running jobs that end soon
        job = self._claim_next()
        if job is None:
            return None
        running = RunningJob(job, self._store, max_seconds=self._max_seconds())
        self._running_jobs.add(running)
        running.worker_stopping = self.stopping  # the stop came during the claim
        return running

    def _claim_next(self) -> Job | None:
        """A job that preempts the running jobs, or one that can run beside them."""
        running_jobs = self._running_jobs
        if (preemption := running_jobs.preemption()) is not None:
            job = self._retry_until_stopped(
                lambda: self._store.claim(
                    self._worker,
                    loaded=self._loaded(),
                    admits=running_jobs.may_preempt,
                    preempting=preemption,
                )
            )
            if job is not None:
                return job
            running_jobs.resume_next()
        if self._residency.pending:
            return None
        return self._retry_until_stopped(
            lambda: self._store.claim(self._worker, loaded=self._loaded(), admits=running_jobs.admits)
        )

    def _retry_until_stopped(self, operation: Callable[[], ResultT]) -> ResultT | None:
        """Retry a database operation until it succeeds or the worker stops; returns its result, or None."""
        try:
            return retry_transient(operation, lambda: self.stopping, retry_all=True)
        except DatabaseError:
            return None
