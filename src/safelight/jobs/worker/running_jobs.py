"""The jobs that a worker is running: which run together, which are paused, and how much time each has used.

*Active* jobs are generated together. After a time slice they may be preempted by a queued job of an owner with less
usage of the worker's time, or by one of a higher priority: they pause between two steps, with their pictures in
memory, and the other job starts. Paused jobs continue when it is their owner's turn again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from safelight.jobs.job import Job
from safelight.jobs.queue.scheduling import TIME_SLICE, Preemption
from safelight.jobs.task import TASKS
from safelight.jobs.worker.owner_usage import OwnerUsage
from safelight.jobs.worker.running_job import RunningJob

MAX_PAUSED = 32
"""Maximum number of paused jobs in a worker; beyond it, queued jobs wait until one has ended."""


class RunningJobs:
    """The jobs that a worker is running. Thread-safe.

    Args:
        slots: Maximum number of active jobs.
        slice_seconds: How long jobs are active before they may be preempted.
    """

    def __init__(self, slots: int, slice_seconds: float = TIME_SLICE) -> None:
        self.slots, self._slice = slots, slice_seconds
        self._changed = threading.Condition()
        self._seconds_by_job: dict[RunningJob, float] = {}  # with the seconds used
        self._owner_usage = OwnerUsage()
        self._active_since = self._charged_until = time.monotonic()

    @property
    def jobs(self) -> list[RunningJob]:
        """All jobs, active or paused."""
        with self._changed:
            return list(self._seconds_by_job)

    @property
    def active(self) -> list[RunningJob]:
        """The jobs that are not paused."""
        with self._changed:
            return self._active()

    def add(self, running: RunningJob) -> None:
        """Add a job; active jobs that cannot run together with it pause."""
        with self._changed:
            self._charge_time()
            self._owner_usage.add_owner(
                running.job.owner, {other.job.owner for other in self._seconds_by_job}
            )
            active = self._active()
            if active and not self._can_batch_with(running.job, active):
                for other in active:
                    other.paused = True
                active = []
            if not active:
                self._active_since = time.monotonic()
            self._seconds_by_job[running] = 0.0

    def remove(self, running: RunningJob) -> None:
        """Remove a job."""
        with self._changed:
            self._charge_time()
            del self._seconds_by_job[running]
            self._changed.notify_all()

    def seconds_of(self, running: RunningJob) -> float:
        """Seconds of the worker's time that a job has used; each second is divided between the active jobs."""
        with self._changed:
            self._charge_time()
            return self._seconds_by_job[running]

    def wait(self, timeout: float) -> None:
        """Wait until a job is removed, or until a timeout in seconds."""
        with self._changed:
            self._changed.wait(timeout)

    def admits(self, job: Job) -> bool:
        """Whether a job can run together with the active jobs: only jobs of equal checkpoint and size can be batched.

        A job that lost its worker may have caused that, so it runs alone and cannot affect other jobs. A job that is
        still running here, though it was requeued and claimed again, has to end first. Jobs that an earlier process
        of this worker had claimed are requeued all at once, whatever the concurrency: they wait for a free slot.
        """
        with self._changed:
            return not self._contains(job) and self._can_batch_with(job, self._active())

    def may_preempt(self, job: Job) -> bool:
        """Whether a job that cannot run together with the active jobs may preempt them.

        A job that lost its worker may not while such jobs are paused: if the worker is lost again, the paused jobs
        lose it too, and a job that loses too many workers fails.
        """
        with self._changed:
            if self._contains(job):
                return False
            active = self._active()
            if active and self._can_batch_with(job, active):
                return True
            any_suspect = job.lost and any(other.suspect for other in self._seconds_by_job)
            return not any_suspect and len(self._seconds_by_job) <= MAX_PAUSED

    def preemption(self) -> Preemption | None:
        """The condition under which a queued job may preempt the active jobs now; None while none may."""
        with self._changed:
            self._charge_time()
            active = self._active()
            if active and time.monotonic() - self._active_since < self._slice:
                return None
            next_group = self._next_group()
            if not (active or next_group):
                return None
            # an owner with a paused job resumes it instead of starting another one
            owners = frozenset(running.job.owner for running in self._seconds_by_job)
            least_usage = min(self._owner_seconds(members) for members in (active, next_group) if members)
            return Preemption(
                _priority(active or next_group), owners | self._owner_usage.owners_above(least_usage)
            )

    def resume_next(self) -> None:
        """Resume paused jobs whose turn it is, if no queued job goes first."""
        with self._changed:
            self._charge_time()
            active, next_group = self._active(), self._next_group()
            if not next_group:
                return
            if active:
                slice_over = time.monotonic() - self._active_since >= self._slice
                next_key, active_key = self._sort_key(next_group), self._sort_key(active)
                if not slice_over or next_key >= active_key:
                    return
            for running in active:
                running.paused = True
            for running in next_group:
                running.paused = False
            self._active_since = time.monotonic()

    @property
    def slice_left(self) -> float:
        """Seconds until the active jobs may be preempted; 0 when they may be now."""
        with self._changed:
            return max(0.0, self._slice - (time.monotonic() - self._active_since))

    def _active(self) -> list[RunningJob]:
        return [running for running in self._seconds_by_job if not running.paused]

    def _next_group(self) -> list[RunningJob]:
        """The paused job that is to be resumed first, with the paused jobs that can run together with it."""
        paused = [running for running in self._seconds_by_job if running.paused]
        if not paused:
            return []
        first = min(paused, key=lambda running: self._sort_key([running]))
        group = [first]
        for running in paused:
            if running is not first and self._can_batch_with(running.job, group):
                group.append(running)
        return group

    def _sort_key(self, members: Sequence[RunningJob]) -> tuple[int, float]:
        """The sort key of a group of jobs: the smallest goes first."""
        return -_priority(members), self._owner_seconds(members)

    def _owner_seconds(self, members: Sequence[RunningJob]) -> float:
        return min(self._owner_usage.seconds_of(member.job.owner) for member in members)

    def _contains(self, job: Job) -> bool:
        return any(job.id == running.job.id for running in self._seconds_by_job)

    def _can_batch_with(self, job: Job, others: Sequence[RunningJob]) -> bool:
        if any(job.lost or other.job.lost for other in others):
            return False
        return len(others) < self.slots and all(_can_share_batch(job, other.job) for other in others)

    def _charge_time(self) -> None:
        """Charge the time since the last call to the active jobs."""
        now = time.monotonic()
        active = self._active()
        for running in active:
            seconds = (now - self._charged_until) / len(active)
            self._seconds_by_job[running] += seconds
            self._owner_usage.charge(running.job.owner, seconds)
        self._charged_until = now


def _priority(members: Sequence[RunningJob]) -> int:
    return max(member.job.priority for member in members)


def _can_share_batch(job: Job, other: Job) -> bool:
    task = TASKS.get(job.kind)
    return task is not None and task.can_share_batch(job, other)
