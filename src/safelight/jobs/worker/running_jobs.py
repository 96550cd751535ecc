"""The jobs that a worker has begun: which are done together, which pause, and what each has had of its time.

Those that are *active* are drawn together. When they have been at it for a time slice and a job of another owner waits
who has had less of the worker's time, or one of a higher priority, they pause between two steps, with their pictures
in memory, and it begins. Who pauses goes on when it is their owner's turn again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from safelight.jobs.job import Job, JobKind
from safelight.jobs.queue.scheduling import SLICE, Holders
from safelight.jobs.worker.owner_usage import OwnerTimes
from safelight.jobs.worker.running_job import RunningJob

MOST_PAUSED = 32
"""How many jobs may pause in one worker; with more of them, others wait until one has ended."""


class RunningJobs:
    """Those who are there. Several threads may use it.

    Args:
        places: How many may be active together.
        slice_seconds: How long they are, before they pause for others.
    """

    def __init__(self, places: int, slice_seconds: float = SLICE) -> None:
        self.places, self._slice = places, slice_seconds
        self._changed = threading.Condition()
        self._members: dict[RunningJob, float] = {}  # with what each has had
        self._times = OwnerTimes()
        self._active_since = self._shared_until = time.monotonic()

    @property
    def members(self) -> list[RunningJob]:
        """Who is there now, active or not."""
        with self._changed:
            return list(self._members)

    @property
    def active(self) -> list[RunningJob]:
        """Who does not pause."""
        with self._changed:
            return self._active()

    def join(self, running: RunningJob) -> None:
        """Be there from now on; those it cannot be done together with pause."""
        with self._changed:
            self._go_on()
            self._times.arrive(running.job.owner, {member.job.owner for member in self._members})
            active = self._active()
            if active and not self._fits_beside(running.job, active):
                for member in active:
                    member.paused = True
                active = []
            if not active:
                self._active_since = time.monotonic()
            self._members[running] = 0.0

    def leave(self, running: RunningJob) -> None:
        """Be there no more."""
        with self._changed:
            self._go_on()
            del self._members[running]
            self._changed.notify_all()

    def share(self, running: RunningJob) -> float:
        """Seconds of the worker's time that a member has had, each second divided between all who were active."""
        with self._changed:
            self._go_on()
            return self._members[running]

    def wait(self, seconds: float) -> None:
        """Wait until somebody leaves, or so long."""
        with self._changed:
            self._changed.wait(seconds)

    def admits(self, job: Job) -> bool:
        """Whether a job can be done beside those that are active: they have to draw alike to be drawn together.

        One that lost its worker may have killed it, so it is done by itself, where it takes nobody along. A job that is
        still here, though it was given to this worker anew, has to leave first. And turns that were taken by an earlier
        life come back all at once, whatever the queue's concurrency: they wait for a place.
        """
        with self._changed:
            return not self._is_here(job) and self._fits_beside(job, self._active())

    def may_interrupt(self, job: Job) -> bool:
        """Whether a job may be begun while those that are active pause, where it does not fit beside them.

        One that lost its worker may not while others pause that have lost theirs: if it is lost again, it takes those
        who pause along, and a job fails that was lost too often.
        """
        with self._changed:
            if self._is_here(job):
                return False
            active = self._active()
            if active and self._fits_beside(job, active):
                return True
            suspects = job.lost and any(member.suspect for member in self._members)
            return not suspects and len(self._members) <= MOST_PAUSED

    def holders(self) -> Holders | None:
        """Who would have to give way now to a job that waits; None while nobody has to."""
        with self._changed:
            self._go_on()
            active = self._active()
            if active and time.monotonic() - self._active_since < self._slice:
                return None
            following = self._next()
            if not (active or following):
                return None
            owners = frozenset(
                member.job.owner for member in self._members
            )  # who pauses goes on, and begins no other
            had = min(self._had(members) for members in (active, following) if members)
            return Holders(_priority(active or following), owners | self._times.beyond(had))

    def resume(self) -> None:
        """Let those go on who pause, where it is their turn and nobody who waits goes before them."""
        with self._changed:
            self._go_on()
            active, following = self._active(), self._next()
            if not following:
                return
            if active:
                over = time.monotonic() - self._active_since >= self._slice
                first, second = self._order(following), self._order(active)
                if not over or first >= second:
                    return
            for member in active:
                member.paused = True
            for member in following:
                member.paused = False
            self._active_since = time.monotonic()

    @property
    def slice_left(self) -> float:
        """Seconds until those that are active may have to pause; 0 when they may now."""
        with self._changed:
            return max(0.0, self._slice - (time.monotonic() - self._active_since))

    def _active(self) -> list[RunningJob]:
        return [member for member in self._members if not member.paused]

    def _next(self) -> list[RunningJob]:
        """Of those who pause: who goes on first, with those it can be done together with."""
        paused = [member for member in self._members if member.paused]
        if not paused:
            return []
        first = min(paused, key=lambda member: self._order([member]))
        together = [first]
        for member in paused:
            if member is not first and self._fits_beside(member.job, together):
                together.append(member)
        return together

    def _order(self, members: Sequence[RunningJob]) -> tuple[int, float]:
        """By what it is decided who goes first: the smallest does."""
        return -_priority(members), self._had(members)

    def _had(self, members: Sequence[RunningJob]) -> float:
        return min(self._times.of(member.job.owner) for member in members)

    def _is_here(self, job: Job) -> bool:
        return any(job.id == member.job.id for member in self._members)

    def _fits_beside(self, job: Job, others: Sequence[RunningJob]) -> bool:
        if any(job.lost or other.job.lost for other in others):
            return False
        return len(others) < self.places and all(_alike(job, other.job) for other in others)

    def _go_on(self) -> None:
        """Divide the time since this was last done."""
        now = time.monotonic()
        active = self._active()
        for member in active:
            seconds = (now - self._shared_until) / len(active)
            self._members[member] += seconds
            self._times.charge(member.job.owner, seconds)
        self._shared_until = now


def _priority(members: Sequence[RunningJob]) -> int:
    return max(member.job.priority for member in members)


def _alike(job: Job, other: Job) -> bool:
    same = ("checkpoint", "width", "height")
    return job.kind == other.kind == JobKind.GENERATE and all(
        job.request.get(name) == other.request.get(name) for name in same
    )
