"""The thread of a worker that claims jobs: one at a time, as soon as one may begin beside those that are running."""

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
from safelight.jobs.worker.running_jobs import MOST_PAUSED, RunningJobs
from safelight.logs import get_logger

LOOK_AGAIN = 1.0
"""Seconds between two looks at the queue while jobs are running, whether or not anything is known to have changed."""

Result = TypeVar("Result")


class ClaimLoop:
    """Claims jobs and runs each in a thread of its own.

    Between two claims it also loads and unloads the checkpoints that the worker was told to, so that no job begins
    meanwhile.

    Args:
        ledger: Where jobs are claimed.
        worker: The worker's name.
        company: The jobs that are running.
        keeper: Loads and unloads checkpoints.
        loaded: Gives the checkpoints in memory.
        run: Runs a job to its end, in the thread it is called in.
        max_seconds: How long any job may run.
    """

    def __init__(
        self,
        ledger: JobStore,
        worker: str,
        company: RunningJobs,
        keeper: Residency,
        *,
        loaded: Callable[[], frozenset[str]],
        run: Callable[[RunningJob], None],
        max_seconds: float,
    ) -> None:
        self._ledger, self._worker, self._company, self._keeper = ledger, worker, company, keeper
        self._loaded, self._run_job, self._max_seconds = loaded, run, max_seconds
        self._changed = threading.Event()
        self.stopping = False
        """Whether no more jobs are to begin. A signal's handler may set it."""
        self._threads = ThreadPoolExecutor(company.places + MOST_PAUSED, thread_name_prefix="job")
        self._thread = threading.Thread(target=self._run, daemon=True, name="claims")

    def start(self) -> None:
        """Begin to claim jobs."""
        self._thread.start()

    def notify(self) -> None:
        """Look at the queue: a job was submitted, one has ended, or a checkpoint is to be loaded."""
        self._changed.set()

    def stop(self, seconds: float) -> None:
        """Claim no more jobs; wait at most so long for a claim that is on its way."""
        self.stopping = True
        self.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self.stopping:
            self._changed.wait(self._pause())
            self._changed.clear()
            try:
                self._claim_all()
            except Exception as error:  # noqa: BLE001  whatever it is, the next job may be another matter
                get_logger(__name__).error("a defect", exc_info=error)
                time.sleep(LOOK_AGAIN)
                self.notify()

    def _claim_all(self) -> None:
        while not self.stopping and (running := self.claim()) is not None:
            self._threads.submit(self._run_job, running)

    def _pause(self) -> float | None:
        """Seconds until it may be another job's turn though nothing else changes; None while nothing is running."""
        if not self._company.members:
            return None
        return min(LOOK_AGAIN, self._company.slice_left or LOOK_AGAIN)

    def claim(self) -> RunningJob | None:
        """Load what is to be loaded, then claim the job that may begin now; None if there is none."""
        if self._keeper.wanted:
            if not self._company.members:
                self._keeper.obey(lambda: self.stopping)
            elif self._company.holders() is None:
                return None  # loading comes before the next job, and after those that are running if they end soon
        job = self._claimed()
        if job is None:
            return None
        running = RunningJob(job, self._ledger, most_seconds=self._max_seconds)
        self._company.join(running)
        running.leaving = self.stopping  # it was told to while the job was being claimed
        return running

    def _claimed(self) -> Job | None:
        """A job that others have to pause for, or one that fits beside those that are running."""
        company = self._company
        if (holders := company.holders()) is not None:
            job = self._within(
                lambda: self._ledger.claim(
                    self._worker, loaded=self._loaded(), fits=company.may_interrupt, before=holders
                )
            )
            if job is not None:
                return job
            company.resume()
        if self._keeper.wanted:
            return None
        return self._within(
            lambda: self._ledger.claim(self._worker, loaded=self._loaded(), fits=company.admits)
        )

    def _within(self, do: Callable[[], Result]) -> Result | None:
        """Use the database, however long that takes, until the worker stops; returns the result, or None."""
        try:
            return retry_transient(do, lambda: self.stopping, always=True)
        except DatabaseError:
            return None
