"""A worker: the process that loads models and does jobs, one device each.

It takes turns from the queue, several at once where the engine can draw them together, renews its lease on the jobs it
holds, listens for signals, and leaves in good order: on SIGTERM it finishes what can be finished soon and gives the
rest back.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import psutil

from safelight.audit import AuditLog
from safelight.errors import (
    DatabaseError,
    InternalError,
    JobTimeoutError,
    MemoryBudgetError,
    SafelightError,
)
from safelight.jobs.dispatch import Turns
from safelight.jobs.job import Job, JobKind, JsonObject, Signal
from safelight.jobs.ledger import LEASE
from safelight.jobs.requests import restored
from safelight.jobs.running import Running
from safelight.jobs.service import Service
from safelight.jobs.work import WORK, Desk
from safelight.logs import bound, logger
from safelight.settings import Settings
from safelight.studio import Studio

LISTEN_EVERY = 0.1
"""Seconds between two looks for signals."""
CLEAN_EVERY = 3600.0
"""Seconds between two looks for what has expired."""
NICENESS = 10
"""Of a worker: drawing takes every core there is, and answers to clients are short."""
GRACE = 5.0
"""Seconds a job on its way is given to end by itself when the worker is told to go."""
PERSIST_EVERY = 1.0
"""Seconds between two tries to write down how a job ended."""

Result = TypeVar("Result")


def worker_name(device: str, number: int = 0) -> str:
    """A name that is the same each time a worker for this device of this host is started."""
    return f"{platform.node()}:{device}:{number}"


class Worker:
    """Does jobs until it is told to stop.

    Args:
        settings: Everything that can be set.
        name: Stays the same from one life to the next.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self._service = Service.open(settings)
        self._ledger = self._service.ledger
        self._desk = Desk(Studio(settings), self._service.gallery, AuditLog(settings.home))
        self._running: dict[str, Running] = {}
        self._concurrency: int = settings.batch_pictures
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._born = time.time()
        self._log = logger(__name__)

    def run(self) -> None:
        """Work until ``stop``."""
        self._log.info("worker starts", worker=self.name, taken_back=self._ledger.take_back(self.name))
        turns = Turns(self.settings.database_url, self.name, self._take_turn, concurrency=self._concurrency)
        self._warm_up()
        turns.start()
        renewed = swept = cleaned = 0.0
        while not self._stopping.wait(LISTEN_EVERY):
            now = time.monotonic()
            if self._attend(renew=now - renewed > LEASE / 3):
                renewed = now
            if now - swept > 1.0:
                swept = now
                self._sweep(turns)
            if now - cleaned > CLEAN_EVERY:
                cleaned = now
                self._clean()
        self._leave()
        turns.stop(int(GRACE))
        self._service.forget_worker(self.name)
        self._service.close()

    def _warm_up(self) -> None:
        """Load what draws, and the usual checkpoint, before the first turn: it takes seconds."""
        self._service.register_worker(self.name, self._description("starting"))
        try:
            self._desk.studio.preload()
        except SafelightError as error:  # jobs that need it will say so
            self._log.warning("not preloaded", error=error.message)

    def stop(self) -> None:
        """Take no new jobs, finish or give back those on their way, and end."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def _take_turn(self) -> None:
        """One turn: wait at the door until the job whose turn it is fits beside what is running, and do it."""
        with self._door:
            running = self._enter()
        if running is None:
            return
        with bound(job_id=running.job.id, request_id=running.job.request_id, worker=self.name):
            try:
                self._do(running)
            finally:
                with self._changed:
                    del self._running[running.job.id]
                    self._changed.notify_all()

    def _enter(self) -> Running | None:
        while not self._stopping.is_set():
            job = self._patiently(lambda: self._ledger.claim(self.name, loaded=self._loaded, fits=self._fits))
            if job is not None:
                running = Running(job, self._ledger)
                with self._changed:
                    self._running[job.id] = running
                return running
            if not self._running or not self._ledger.waiting():
                return None
            with self._changed:
                self._changed.wait(timeout=1.0)
        return None

    def _fits(self, job: Job) -> bool:
        """Whether a job can be done beside those on their way: they have to draw alike to be drawn together.

        Turns that were taken by an earlier life come back all at once, whatever the queue's concurrency.
        """
        with self._changed:
            others = [running.job for running in self._running.values()]
        return len(others) < self._concurrency and all(_alike(job, other) for other in others)

    @property
    def _loaded(self) -> frozenset[str]:
        return self._desk.studio.loaded_checkpoints

    def _do(self, running: Running) -> None:
        job = running.job
        self._log.info("job begins", kind=job.kind, attempt=job.attempt)
        try:
            with self._service.reading() as connection:
                request = restored(connection, job.kind, job.request)
            result = WORK[job.kind](self._desk, running, request)
        except SafelightError as error:
            self._conclude(running, error=error)
        except (MemoryError, RuntimeError) as error:
            self._conclude(running, error=_out_of_memory(error) or _defect(error))
        except Exception as error:  # noqa: BLE001  whatever a job does, the worker goes on
            self._conclude(running, error=_defect(error))
        else:
            self._conclude(running, result)

    def _conclude(
        self, running: Running, result: JsonObject | None = None, error: SafelightError | None = None
    ) -> None:
        """Write down how a job ended; tried again and again, since a result must not get lost for a locked database."""
        job, ledger = running.job, self._ledger
        if running.leaving and running.cut_short:
            kept = self._patiently(lambda: ledger.give_back(job))
        elif running.told is Signal.CANCEL and running.cut_short:
            kept = self._patiently(lambda: ledger.cancelled(job, result))
        elif running.late and running.cut_short:
            late = JobTimeoutError(f"The job ran longer than {job.timeout:g} seconds.")
            kept = self._patiently(lambda: ledger.fail(job, late, result))
        elif error is not None:
            kept = self._patiently(lambda: ledger.fail(job, error))
        else:
            kept = self._patiently(lambda: ledger.succeed(job, result or {}, running.seconds))
        self._log.info(
            "job ends", seconds=round(running.seconds, 3), error=error.code if error else None, kept=kept
        )
        if isinstance(error, InternalError):
            self._log.error("a defect", exc_info=error.__cause__)

    def _patiently(self, write: Callable[[], Result]) -> Result:
        """Write to the database, and try again while it cannot be written."""
        while True:
            try:
                return write()
            except DatabaseError as error:
                self._log.warning("the database cannot be written", error=error.message)
                time.sleep(PERSIST_EVERY)

    def _attend(self, *, renew: bool) -> bool:
        """Hear what jobs are told; says whether the leases were renewed."""
        with self._changed:
            held = list(self._running.values())
        told: Mapping[str, Signal | None] = {}
        try:
            if renew:
                told = self._ledger.renew(self.name, [running.job for running in held])
                self._service.register_worker(self.name, self._description("busy" if held else "idle"))
            elif held:
                told = self._ledger.signals([running.job.id for running in held])
        except DatabaseError as error:
            self._log.warning("not heard", error=error.message)
            self._stopping.wait(PERSIST_EVERY)
            return False
        for running in held:
            running.told = running.told or told.get(running.job.id)
        return renew

    def _sweep(self, turns: Turns) -> None:
        """Take back the jobs of workers that are gone, and begin those whose turn was lost with them."""
        try:
            self._ledger.take_back()
            if not self._running and self._ledger.waiting() and not self._door.locked():
                turns.take_one()
        except DatabaseError as error:
            self._log.warning("not swept", error=error.message)

    def _clean(self) -> None:
        try:
            self._service.clean()
        except SafelightError as error:
            self._log.warning("not cleaned", error=error.message)

    def _leave(self) -> None:
        """Wait a little for jobs on their way, then have them given back."""
        deadline = time.monotonic() + GRACE
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout=GRACE)
            for running in self._running.values():
                running.leaving = True
        while self._running and time.monotonic() < deadline + GRACE:
            self._attend(renew=False)
            time.sleep(LISTEN_EVERY)

    def _description(self, state: str) -> dict[str, object]:
        return {
            "host": platform.node(),
            "pid": os.getpid(),
            "device": self.settings.device,
            "state": state,
            "checkpoints": sorted(self._loaded),
            "memory": float(psutil.Process().memory_info().rss),
            "started": self._born,
        }


def serve(settings: Settings, name: str) -> None:
    """Be a worker until SIGTERM or SIGINT, and leave the processor to whoever answers requests."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    worker = Worker(settings, name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()


def _alike(job: Job, other: Job) -> bool:
    same = ("checkpoint", "width", "height")
    return job.kind == other.kind == JobKind.GENERATE and all(
        job.request.get(name) == other.request.get(name) for name in same
    )


def _out_of_memory(error: BaseException) -> MemoryBudgetError | None:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return MemoryBudgetError("The worker has no memory left for this job.")
    return None


def _defect(error: BaseException) -> InternalError:
    defect = InternalError(f"{type(error).__name__}: {error}")
    defect.__cause__ = error
    return defect
