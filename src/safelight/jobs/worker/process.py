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
from safelight.database.named_lock import create_named_lock
from safelight.errors import DatabaseError, SafelightError, WorkerNameError
from safelight.jobs.channels import Channel
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.jobs.retry import retry_transient
from safelight.jobs.task import TASKS
from safelight.jobs.tasks import JobContext
from safelight.jobs.worker.capabilities import describe_worker
from safelight.jobs.worker.claim_loop import ClaimLoop
from safelight.jobs.worker.control import CommandReader
from safelight.jobs.worker.execution import JobRunner
from safelight.jobs.worker.heartbeat import Heartbeat
from safelight.jobs.worker.maintenance import Maintenance
from safelight.jobs.worker.residency import Residency
from safelight.jobs.worker.running_job import RunningJob
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger
from safelight.models.background_digests import BackgroundDigests
from safelight.runtime.allocator import keep_freed_memory, trim
from safelight.settings import Settings
from safelight.studio import Studio

NICENESS = 10
"""Niceness of a worker: generation uses all cores, and the server's responses must not wait for it."""
SHUTDOWN_GRACE = 5
"""Seconds that running jobs have to end by themselves when the worker stops."""


def worker_name(device: str, number: int = 0) -> str:
    """A worker's name, which stays the same across restarts."""
    return f"{platform.node()}:{device}:{number}"


class Worker:
    """Runs jobs until it is stopped.

    Args:
        settings: All settings.
        name: The same across restarts.
        holds_name: Whether this process still holds the name; called with each heartbeat.
    """

    def __init__(self, settings: Settings, name: str, holds_name: Callable[[], bool] = lambda: True) -> None:
        self.settings, self.name = settings, name
        self._service = QueueService.open(settings)
        self._store = self._service.store
        self._context = JobContext(
            Studio(settings), self._service.gallery, open_audit_log(settings.home, settings.audit_bytes)
        )
        self._running_jobs = RunningJobs(settings.max_batch_size)
        self._listener = self._service.listen(Channel.JOBS, Channel.COMMANDS)
        self._heartbeat = Heartbeat(
            self._service,
            name,
            self._running_jobs,
            self._describe,
            holds_name=holds_name,
            on_replaced=self._on_replaced,
        )
        self._residency = Residency(
            self._service, self._context.studio, self._heartbeat.register, self._checkpoints_in_use
        )
        self._command_reader = CommandReader(self._store, self._running_jobs, self._residency)
        self._digests = BackgroundDigests(settings, lambda: bool(self._running_jobs.jobs))
        self._maintenance = Maintenance(self._service, self._running_jobs)
        self._job_runner = JobRunner(self._service, self._context, self._running_jobs, self._on_broken_device)
        self._claim_loop = ClaimLoop(
            self._store,
            name,
            self._running_jobs,
            self._residency,
            loaded=lambda: self._context.studio.loaded_checkpoints,
            run=self._run_job,
            max_seconds=lambda: settings.max_job_seconds,
        )
        self.replaced = False
        """Whether this worker has stopped because another process has taken its name."""
        self._stopping = False
        self._started, self._ready = self._service.now(), False
        self._capabilities: Mapping[str, str] = {"device": settings.device}
        self._log = get_logger(__name__)

    def run(self) -> None:
        """Run jobs until ``stop``."""
        reclaimed = retry_transient(lambda: self._store.reclaim(self.name), lambda: self._stopping)
        self._log.info("worker starts", worker=self.name, taken_back=reclaimed)
        self._heartbeat.start()
        self._warm_up()
        self._digests.start()
        with self._service.follow_settings():
            self._claim_loop.start()
            while not self._stopping:
                self._handle_notifications(self._listener.wait(self._maintenance.seconds_until_due))
                self._maintenance.run_due()
            self._shut_down()
        self.close()

    def close(self) -> None:
        """Close the database; no job may be running."""
        self._listener.close()
        self._service.close()

    def stop(self) -> None:
        """Stop claiming jobs, finish or return the running ones, and end. A signal handler may call it."""
        self._stopping = self._claim_loop.stopping = True
        self._listener.wake()  # and nothing else: the interrupted code may hold any lock

    def _warm_up(self) -> None:
        """Load the default checkpoint and its engine before the first job: this takes seconds, or minutes."""
        self._residency.load(self.settings.checkpoint, self._context.studio.preload)
        try:
            self._capabilities = describe_worker(self._context.studio)
        except SafelightError as error:  # jobs will report it
            self._log.warning("cannot generate or judge", error=error.message)
        trim()
        self._ready = True
        self._heartbeat.register()

    def _handle_notifications(self, changed: set[str]) -> None:
        """Handle notifications on some channels."""
        if Channel.COMMANDS in changed:
            self._command_reader.read()
        if changed:
            self._claim_loop.notify()

    def _run_job(self, running: RunningJob) -> None:
        try:
            self._job_runner.run(running)
        finally:
            self._heartbeat.register()  # with the memory that its pictures took
            self._claim_loop.notify()
            self._listener.wake()  # a worker that stops waits for its jobs

    def _checkpoints_in_use(self) -> frozenset[str]:
        """The checkpoints of the running jobs; scans and upscaling have none."""
        jobs = [running.job for running in self._running_jobs.jobs]
        return frozenset(
            str(job.request.get("checkpoint") or self.settings.checkpoint)
            for job in jobs
            if (task := TASKS.get(job.kind)) and task.uses_checkpoint
        )

    def _on_broken_device(self) -> None:
        """End this process, which cannot use the device any more; other jobs go back to the queue."""
        self._log.error("the device failed: the worker ends, to be started anew", worker=self.name)
        self.stop()

    def _on_replaced(self) -> None:
        self.replaced = True
        self.stop()

    def _shut_down(self) -> None:
        """Wait briefly for running jobs, then interrupt them so that they are requeued; commands are still read."""
        started = time.monotonic()
        self._digests.stop()
        self._claim_loop.stop(SHUTDOWN_GRACE)
        while (running_jobs := self._running_jobs.jobs) and (
            seconds_left := started + 2 * SHUTDOWN_GRACE - time.monotonic()
        ) > 0:
            if seconds_left < SHUTDOWN_GRACE:
                for running in running_jobs:
                    running.worker_stopping = True
            self._handle_notifications(self._listener.wait(min(seconds_left, 1.0)))
        self._heartbeat.stop()
        if self.replaced:
            return
        try:
            self._service.unregister_worker(self.name)
        except DatabaseError as error:
            self._log.warning("not forgotten", error=error.message)

    @property
    def _state(self) -> str:
        if not self._ready:
            return "starting"
        if self._running_jobs.jobs:
            return "busy"
        return "loading" if self._residency.is_loading else "idle"

    def _report_memory(self) -> dict[str, object] | None:
        """The device's memory, and what pictures took; None where generation cannot be used."""
        if not self._ready:
            return None  # the engine may be loading
        try:
            engine = self._context.studio.engine
            return self._context.memory.to_dict(
                engine.memory,
                engine.shortages,
                engine.other_devices,
                engine.devices,
                engine.device_notes,
            )
        except SafelightError:  # jobs will report it
            return None

    def _describe(self) -> dict[str, object]:
        return {
            **self._capabilities,
            "host": platform.node(),
            "pid": os.getpid(),
            "state": self._state,
            "checkpoints": sorted(self._context.studio.loaded_checkpoints),
            "loading": self._residency.loading,
            "last_error": self._residency.last_error,
            "memory_report": self._report_memory(),
            "memory": float(psutil.Process().memory_info().rss),
            "started": self._started,
        }


def run_worker(settings: Settings, name: str, *, name_timeout: float = 0.0) -> None:
    """Run a worker until SIGTERM or SIGINT, at a low priority so that the server stays responsive.

    Args:
        settings: All settings.
        name: The worker's name, unique among the workers of the database.
        name_timeout: Seconds to wait for another worker of this name to stop.

    Raises:
        WorkerNameError: Another process holds the name, or has taken it while the database was unreachable.
        DatabaseError: The database cannot be used.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    keep_freed_memory()  # before threads get heaps of their own
    lease = create_named_lock(settings, f"worker {name}")
    if not lease.acquire(name_timeout):
        raise WorkerNameError(f"{lease.holder()} is the worker {name!r}.")
    try:
        prepare_database(settings)
        worker = Worker(settings, name, lease.is_held)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: worker.stop())
        worker.run()
        if worker.replaced:
            raise WorkerNameError(f"{lease.holder()} has become the worker {name!r}.")
    finally:
        lease.release()
