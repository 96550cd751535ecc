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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import psutil

from safelight.audit import audit_log
from safelight.database.exclusive import exclusive_name
from safelight.errors import DatabaseError, InternalError, JobTimeoutError, SafelightError, WorkerNameError
from safelight.jobs.company import Company
from safelight.jobs.dispatch import Turns
from safelight.jobs.holding import LEASE
from safelight.jobs.job import Job, JobKind, JsonObject, Signal
from safelight.jobs.keeping import Keeper
from safelight.jobs.mishaps import understood
from safelight.jobs.patience import RETRY_EVERY, patiently
from safelight.jobs.reasons import described
from safelight.jobs.requests import restored
from safelight.jobs.running import Running
from safelight.jobs.service import Service, prepare
from safelight.jobs.work import WORK, Desk
from safelight.logs import bound, logger
from safelight.settings import Settings
from safelight.studio import Studio

if TYPE_CHECKING:
    from safelight.generation.request import Part

LISTEN_EVERY = 0.1
"""Seconds between two looks for signals."""
CLEAN_EVERY = 3600.0
"""Seconds between two looks for what has expired."""
NICENESS = 10
"""Of a worker: drawing takes every core there is, and answers to clients are short."""
GRACE = 5
"""Seconds a job on its way is given to end by itself when the worker is told to go."""
SIGN_EVERY = LEASE / 3
"""Seconds between two signs of life."""
CLOCK_JUMP = 1.0
"""Seconds that the time of day may go otherwise than time itself between two looks."""

Result = TypeVar("Result")


def worker_name(device: str, number: int = 0) -> str:
    """A name that is the same each time a worker for this device of this host is started."""
    return f"{platform.node()}:{device}:{number}"


class Tally:
    """How many threads are within it; use it as a context manager."""

    def __init__(self) -> None:
        self._mind = threading.Lock()
        self.count = 0

    def __enter__(self) -> None:
        with self._mind:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._mind:
            self.count -= 1


class Watch:
    """Whether leases can be judged: not just after the clock was set or the machine slept, when all look late.

    Args:
        clock: Seconds since 1970 by the clock that leases are measured with.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._offset: float | None = None
        self._trusted_from = 0.0

    def trusted(self) -> bool:
        """Whether every worker that lives has had the time to renew its leases since the clock last jumped.

        Raises:
            DatabaseError: The clock cannot be read.
        """
        before = time.monotonic()
        offset = self._clock() - before
        after = time.monotonic()
        if self._offset is not None and abs(offset - self._offset) > CLOCK_JUMP + (after - before):
            self._trusted_from = after + LEASE
        self._offset = offset
        return after >= self._trusted_from


class Worker:
    """Does jobs until it is told to stop.

    Args:
        settings: Everything that can be set.
        name: Stays the same from one life to the next.
        kept: Whether no other process goes by that name; asked now and then.
    """

    def __init__(self, settings: Settings, name: str, kept: Callable[[], bool] = lambda: True) -> None:
        self.settings, self.name = settings, name
        self._service = Service.open(settings)
        self._ledger = self._service.ledger
        self._desk = Desk(
            Studio(settings), self._service.gallery, audit_log(settings.home, settings.audit_bytes)
        )
        self._company = Company(settings.batch_pictures)
        self._door = threading.Lock()
        self._taken = Tally()
        self._kept = kept
        self.replaced = False
        """Whether another process goes by the same name now; this one has ended because of it."""
        self._stopping = False
        self._born, self._renewed = time.time(), 0.0
        self._watch = Watch(self._service.now)
        self._cleaner: threading.Thread | None = None
        self._keeper = Keeper(self._service, self._desk.studio, self._tell, self._in_use)
        self._begun = False
        self._ways: Mapping[str, str] = {"device": settings.device}
        self._log = logger(__name__)

    def run(self) -> None:
        """Work until ``stop``."""
        taken_back = patiently(lambda: self._ledger.take_back(self.name), lambda: self._stopping)
        self._log.info("worker starts", worker=self.name, taken_back=taken_back)
        turns = Turns(
            self.settings.database_url, self.name, self._take_turn, concurrency=self._company.places
        )
        self._warm_up()
        turns.start()
        swept = cleaned = 0.0
        while not self._stopping:
            time.sleep(LISTEN_EVERY)
            self._attend()
            self._resume(turns)
            now = time.monotonic()
            if now - swept > 1.0:
                swept = now
                self._sweep()
                self._top_up(turns)
                self._keep()
            if now - cleaned > CLEAN_EVERY:
                cleaned = now
                self._clean_aside()
        self._leave(turns)
        self._service.close()

    def _warm_up(self) -> None:
        """Load what draws, and the usual checkpoint, before the first turn: it takes seconds, or minutes."""
        with self._signs_of_life():
            self._keeper.load(self.settings.checkpoint, self._desk.studio.preload)
            try:
                self._ways = described(self._desk.studio)
            except SafelightError as error:  # jobs will say so
                self._log.warning("cannot draw or judge", error=error.message)
        self._begun = True
        self._tell()

    @contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        """Tell how the worker is, again and again, while this thread is busy: a silent worker counts as gone."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(SIGN_EVERY):
                self._tell()

        telling = threading.Thread(target=tell, daemon=True, name="signs of life")
        telling.start()
        try:
            yield
        finally:
            over.set()
            telling.join()

    def stop(self) -> None:
        """Take no new jobs, finish or give back those on their way, and end. May be called by a signal's handler."""
        self._stopping = True  # and nothing else: whoever was interrupted may hold any lock

    def _take_turn(self) -> None:
        """One turn: wait at the door until the job whose turn it is fits beside what is running, and do it."""
        with self._taken:
            with self._door:
                running = self._enter()
            if running is None:
                return
            with bound(job_id=running.job.id, request_id=running.job.request_id, worker=self.name):
                try:
                    self._do(running)
                finally:
                    self._company.leave(running)

    def _enter(self) -> Running | None:
        while not self._stopping:
            if self._keeper.wanted and (not self._company.members or self._company.holders() is None):
                self._keep_in_turn()  # before the next job, and after those on their way, if they end soon
                continue
            job = self._claimed()
            if job is not None:
                running = Running(job, self._ledger, most_seconds=self.settings.max_job_seconds)
                self._company.join(running)
                running.leaving = self._stopping  # it was told to go while the job was being claimed
                return running
            if not self._company.members or not self._within(self._ledger.waiting):
                return None
            self._company.wait(min(1.0, self._company.slice_left or 1.0))
        return None

    def _claimed(self) -> Job | None:
        """The job to begin now: one that others have to pause for, or one that fits beside those on their way."""
        company = self._company
        if (holders := company.holders()) is not None:
            job = self._within(
                lambda: self._ledger.claim(
                    self.name, loaded=self._loaded, fits=company.may_interrupt, before=holders
                )
            )
            if job is not None:
                return job
            company.resume()
        if self._keeper.wanted:
            return None
        return self._within(lambda: self._ledger.claim(self.name, loaded=self._loaded, fits=company.fits))

    def _within(self, do: Callable[[], Result]) -> Result | None:
        """Use the database, however long that takes, unless it is time to go; returns what came of it, or None."""
        try:
            return patiently(do, lambda: self._stopping, always=True)
        except DatabaseError:
            return None

    @property
    def _loaded(self) -> frozenset[str]:
        return self._desk.studio.loaded_checkpoints

    def _in_use(self) -> frozenset[str]:
        """The checkpoints of the jobs on their way; those that only judge or enlarge have none."""
        jobs = [running.job for running in self._company.members]
        return frozenset(
            str(job.request.get("checkpoint") or self.settings.checkpoint)
            for job in jobs
            if job.kind is JobKind.GENERATE
        )

    def _do(self, running: Running) -> None:
        job = running.job
        self._log.info("job begins", kind=job.kind, attempt=job.attempt)
        try:
            request = running.patiently(lambda: self._request_of(job))
            result = WORK[job.kind](self._desk, running, request).stored()
        except Exception as error:  # noqa: BLE001  whatever a job does, the worker goes on
            self._conclude(running, error=understood(error))
        else:
            self._conclude(running, result)

    def _request_of(self, job: Job) -> Part:
        with self._service.reading() as connection:
            return restored(connection, job.kind, job.request)

    def _conclude(
        self, running: Running, result: JsonObject | None = None, error: SafelightError | None = None
    ) -> None:
        """Write down how a job ended; tried again and again, since a result must not get lost for a locked database."""
        kept = patiently(lambda: self._write_end(running, result, error), always=True)
        self._log.info(
            "job ends", seconds=round(running.seconds, 3), error=error.code if error else None, kept=kept
        )
        if isinstance(error, InternalError):
            self._log.error("a defect", exc_info=error.__cause__)

    def _write_end(self, running: Running, result: JsonObject | None, error: SafelightError | None) -> bool:
        job, ledger = running.job, self._ledger
        if running.cut_short and running.told is Signal.CANCEL:
            return ledger.cancelled(job, result)
        if running.cut_short and running.leaving:
            return ledger.give_back(job, result)
        if running.cut_short and running.late:
            late = JobTimeoutError(f"The job ran longer than {running.limit:g} seconds.")
            return ledger.fail(job, late, result)
        if error is not None:
            return ledger.fail(job, error)
        whole = not (running.partial or running.cut_short)
        return ledger.succeed(job, result or {}, self._company.share(running) if whole else None)

    def _attend(self) -> None:
        """Hear what jobs are told, and renew the leases when it is time."""
        heard = [(running, running.skips) for running in self._company.members]
        renew = time.monotonic() - self._renewed > SIGN_EVERY
        if renew and not self.replaced and not self._kept():
            self._log.error("another process is this worker now", worker=self.name)
            self.replaced = self._stopping = True
        told: Mapping[str, Signal | None] = {}
        try:
            if renew:
                told = self._ledger.renew(self.name, [running.job for running, _ in heard])
                self._renewed = time.monotonic()
                self._service.register_worker(self.name, self._description())
            elif heard:
                told = self._ledger.signals([running.job.id for running, _ in heard])
        except DatabaseError as error:
            self._log.warning("not heard", error=error.message)
            time.sleep(RETRY_EVERY)
        for running, skips in heard:
            running.hear(told.get(running.job.id), skips)

    def _sweep(self) -> None:
        """Take back the jobs of workers that are gone."""
        try:
            if not self._watch.trusted():
                return
            self._ledger.take_back(but=[running.job.id for running in self._company.members])
        except DatabaseError as error:
            self._log.warning("not swept", error=error.message)

    def _resume(self, turns: Turns) -> None:
        """Let those go on who pause when all do; where jobs wait, somebody at the door chooses."""
        if not self._company.members or self._company.active or self._door.locked():
            return
        try:
            if self._ledger.waiting():
                self._top_up(turns)
            else:
                self._company.resume()
        except DatabaseError as error:
            self._log.warning("not heard", error=error.message)

    def _top_up(self, turns: Turns) -> None:
        """Begin jobs that wait though there is room: their turns were lost with a worker that never came back.

        Also see that somebody is at the door while jobs wait, who chooses when those on their way have to pause.
        """
        members, active = len(self._company.members), len(self._company.active)
        missing = max(self._company.places + members - active, members + 1) - self._taken.count
        if missing <= 0 or self._door.locked():  # whoever is at the door will choose
            return
        try:
            for _ in range(min(missing, self._ledger.waiting())):
                turns.take_one()
        except DatabaseError as error:
            self._log.warning("no turn taken", error=error.message)

    def _keep(self) -> None:
        """Hear what is to be in memory, and see to it in a thread of its own while there is nothing else to do."""
        try:
            self._keeper.listen()
        except DatabaseError as error:
            self._log.warning("not heard", error=error.message)
            return
        if self._keeper.wanted and not self._company.members and not self._door.locked():
            threading.Thread(target=self._keep_at_door, daemon=True, name="keeper").start()

    def _keep_at_door(self) -> None:
        with self._door:  # nobody begins a job meanwhile
            self._keep_in_turn()

    def _keep_in_turn(self) -> None:
        """See to what is to be in memory, or wait a little for those who draw; called by whoever is at the door."""
        if self._company.members:
            self._company.wait(1.0)
        else:
            self._keeper.obey(lambda: self._stopping)

    def _clean_aside(self) -> None:
        """Delete what has expired, in a thread of its own: it may take minutes, and leases have to be renewed."""
        if self._cleaner is None or not self._cleaner.is_alive():
            self._cleaner = threading.Thread(target=self._clean, daemon=True, name="cleaner")
            self._cleaner.start()

    def _clean(self) -> None:
        try:
            self._service.clean()
        except SafelightError as error:
            self._log.warning("not cleaned", error=error.message)

    def _leave(self, turns: Turns) -> None:
        """Wait a little for jobs on their way, then have them given back; listen to what they are told meanwhile."""
        ending = threading.Thread(target=turns.stop, args=(2 * GRACE,), name="turns")
        ending.start()  # before anything else: turns that are taken now would be lost
        began = time.monotonic()
        while (members := self._company.members) and time.monotonic() - began < 2 * GRACE:
            if time.monotonic() - began > GRACE:
                for running in members:
                    running.leaving = True
            self._attend()
            time.sleep(LISTEN_EVERY)
        ending.join()
        if self.replaced:
            return
        try:
            self._service.forget_worker(self.name)
        except DatabaseError as error:
            self._log.warning("not forgotten", error=error.message)

    def _tell(self) -> None:
        """Note how the worker is, where that is not to wait for the next renewal."""
        try:
            self._service.register_worker(self.name, self._description())
        except DatabaseError as error:
            self._log.warning("not noted", error=error.message)

    @property
    def _state(self) -> str:
        if not self._begun:
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
            "checkpoints": sorted(self._loaded),
            "loading": self._keeper.loading,
            "last_error": self._keeper.last_error,
            "memory": float(psutil.Process().memory_info().rss),
            "started": self._born,
        }


def serve(settings: Settings, name: str, *, patience: float = 0.0) -> None:
    """Be a worker until SIGTERM or SIGINT, and leave the processor to whoever answers requests.

    Args:
        settings: Everything that can be set.
        name: No other worker of this database may go by it.
        patience: Seconds to wait for another one of that name to leave.

    Raises:
        WorkerNameError: There is one; nothing was touched, or it came while the database was away.
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        worker.run()
        if worker.replaced:
            raise WorkerNameError(f"{lease.holder()} has become the worker {name!r}.")
    finally:
        lease.release()
