"""A worker: a process that loads models and runs jobs, on one device.

Each concern has its own thread: ``claim_loop.py`` claims jobs, ``execution.py`` runs each of them in a thread, and
``heartbeat.py`` renews their leases. The main thread waits for notifications: it wakes the claim loop for new jobs,
reads commands (``control.py``) and runs the maintenance (``maintenance.py``). On SIGTERM a worker finishes the jobs
that end soon and returns the others to the queue.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Mapping

import psutil

from safelight.audit_log import open_audit_log
from safelight.database.exclusive import exclusive_name
from safelight.errors import DatabaseError, SafelightError, WorkerNameError
from safelight.jobs.channels import Channel
from safelight.jobs.job import JobKind
from safelight.jobs.queue_service import QueueService, prepare
from safelight.jobs.retry import retry_transient
from safelight.jobs.tasks import JobContext
from safelight.jobs.worker.capabilities import described
from safelight.jobs.worker.claim_loop import ClaimLoop
from safelight.jobs.worker.control import Control
from safelight.jobs.worker.execution import Execution
from safelight.jobs.worker.heartbeat import Heartbeat
from safelight.jobs.worker.maintenance import Sweeper
from safelight.jobs.worker.residency import Residency
from safelight.jobs.worker.running_job import RunningJob
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger
from safelight.runtime.allocator import trim
from safelight.settings import Settings
from safelight.studio import Studio

NICENESS = 10
"""Niceness of a worker: generation uses all cores, and the server's responses must not wait for it."""
GRACE = 5
"""Seconds that running jobs have to end by themselves when the worker stops."""


def worker_name(device: str, number: int = 0) -> str:
    """A worker's name, which stays the same across restarts."""
    return f"{platform.node()}:{device}:{number}"


class Worker:
    """Runs jobs until it is stopped.

    Args:
        settings: All settings.
        name: The same across restarts.
        kept: Whether this process still holds the name; called with each heartbeat.
    """

    def __init__(self, settings: Settings, name: str, kept: Callable[[], bool] = lambda: True) -> None:
        self.settings, self.name = settings, name
        self._service = QueueService.open(settings)
        self._ledger = self._service.store
        self._desk = JobContext(
            Studio(settings), self._service.gallery, open_audit_log(settings.home, settings.audit_bytes)
        )
        self._company = RunningJobs(settings.max_batch_size)
        self._listener = self._service.listen(Channel.JOBS, Channel.COMMANDS)
        self._heartbeat = Heartbeat(
            self._service, name, self._company, self._description, kept=kept, replaced=self._be_replaced
        )
        self._keeper = Residency(self._service, self._desk.studio, self._heartbeat.describe, self._in_use)
        self._control = Control(self._ledger, self._company, self._keeper)
        self._sweeper = Sweeper(self._service, self._company)
        self._execution = Execution(self._service, self._desk, self._company)
        self._claims = ClaimLoop(
            self._ledger,
            name,
            self._company,
            self._keeper,
            loaded=lambda: self._desk.studio.loaded_checkpoints,
            run=self._run_job,
            max_seconds=settings.max_job_seconds,
        )
        self.replaced = False
        """Whether this worker has stopped because another process has taken its name."""
        self._stopping = False
        self._started, self._warm = self._service.now(), False
        self._ways: Mapping[str, str] = {"device": settings.device}
        self._log = get_logger(__name__)

    def run(self) -> None:
        """Run jobs until ``stop``."""
        reclaimed = retry_transient(lambda: self._ledger.take_back(self.name), lambda: self._stopping)
        self._log.info("worker starts", worker=self.name, taken_back=reclaimed)
        self._heartbeat.start()
        self._warm_up()
        self._claims.start()
        while not self._stopping:
            self._attend(self._listener.wait(self._sweeper.due_in))
            self._sweeper.run()
        self._leave()
        self.close()

    def close(self) -> None:
        """Close the database; no job may be running."""
        self._listener.close()
        self._service.close()

    def stop(self) -> None:
        """Stop claiming jobs, finish or return the running ones, and end. A signal handler may call it."""
        self._stopping = self._claims.stopping = True
        self._listener.wake()  # and nothing else: the interrupted code may hold any lock

    def _warm_up(self) -> None:
        """Load the default checkpoint and its engine before the first job: this takes seconds, or minutes."""
        self._keeper.load(self.settings.checkpoint, self._desk.studio.preload)
        try:
            self._ways = described(self._desk.studio)
        except SafelightError as error:  # jobs will report it
            self._log.warning("cannot generate or judge", error=error.message)
        trim()
        self._warm = True
        self._heartbeat.describe()

    def _attend(self, changed: set[str]) -> None:
        """Handle notifications on some channels."""
        if Channel.COMMANDS in changed:
            self._control.read()
        if changed:
            self._claims.notify()

    def _run_job(self, running: RunningJob) -> None:
        try:
            self._execution.run(running)
        finally:
            self._claims.notify()
            self._listener.wake()  # a worker that stops waits for its jobs

    def _in_use(self) -> frozenset[str]:
        """The checkpoints of the running jobs; scans and upscaling have none."""
        jobs = [running.job for running in self._company.members]
        return frozenset(
            str(job.request.get("checkpoint") or self.settings.checkpoint)
            for job in jobs
            if job.kind is JobKind.GENERATE
        )

    def _be_replaced(self) -> None:
        self.replaced = True
        self.stop()

    def _leave(self) -> None:
        """Wait briefly for running jobs, then interrupt them so that they are requeued; commands are still read."""
        started = time.monotonic()
        self._claims.stop(GRACE)
        while (running_jobs := self._company.members) and (
            seconds_left := started + 2 * GRACE - time.monotonic()
        ) > 0:
            if seconds_left < GRACE:
                for running in running_jobs:
                    running.leaving = True
            self._attend(self._listener.wait(min(seconds_left, 1.0)))
        self._heartbeat.stop()
        if self.replaced:
            return
        try:
            self._service.forget_worker(self.name)
        except DatabaseError as error:
            self._log.warning("not forgotten", error=error.message)

    @property
    def _state(self) -> str:
        if not self._warm:
            return "starting"
        if self._company.members:
            return "busy"
        return "loading" if self._keeper.at_work else "idle"

    def _description(self) -> dict[str, object]:
        return {
            **self._ways,
            "host": platform.node(),
            "pid": os.getpid(),
            "state": self._state,
            "checkpoints": sorted(self._desk.studio.loaded_checkpoints),
            "loading": self._keeper.loading,
            "last_error": self._keeper.last_error,
            "memory": float(psutil.Process().memory_info().rss),
            "started": self._started,
        }


def serve(settings: Settings, name: str, *, patience: float = 0.0) -> None:
    """Run a worker until SIGTERM or SIGINT, at a low priority so that the server stays responsive.

    Args:
        settings: All settings.
        name: The worker's name, unique among the workers of the database.
        patience: Seconds to wait for another worker of this name to stop.

    Raises:
        WorkerNameError: Another process holds the name, or has taken it while the database was unreachable.
        DatabaseError: The database cannot be used.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    lease = exclusive_name(settings, f"worker {name}")
    if not lease.acquire(patience):
        raise WorkerNameError(f"{lease.holder()} is the worker {name!r}.")
    try:
        prepare(settings)
        worker = Worker(settings, name, lease.kept)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: worker.stop())
        worker.run()
        if worker.replaced:
            raise WorkerNameError(f"{lease.holder()} has become the worker {name!r}.")
    finally:
        lease.release()
