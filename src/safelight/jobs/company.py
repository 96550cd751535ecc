"""The jobs that a worker does at the same time: which may be together, and what each has had of the worker's time."""

from __future__ import annotations

import threading
import time

from safelight.jobs.job import Job, JobKind
from safelight.jobs.running import Running


class Company:
    """Those who are there. Several threads may use it.

    Args:
        places: How many there are.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._changed = threading.Condition()
        self._members: dict[
            Running, float
        ] = {}  # with the share of those who were there all the time, as they came
        self._share, self._shared_until = 0.0, time.monotonic()

    @property
    def members(self) -> list[Running]:
        """Who is there now."""
        with self._changed:
            return list(self._members)

    def join(self, running: Running) -> None:
        """Be there from now on."""
        with self._changed:
            self._go_on()
            self._members[running] = self._share

    def leave(self, running: Running) -> None:
        """Be there no more."""
        with self._changed:
            self._go_on()
            del self._members[running]
            self._changed.notify_all()

    def share(self, running: Running) -> float:
        """Seconds of the worker's time that a member has had, each second divided between all who were there."""
        with self._changed:
            self._go_on()
            return self._share - self._members[running]

    def wait(self, seconds: float) -> None:
        """Wait until somebody leaves, or so long."""
        with self._changed:
            self._changed.wait(seconds)

    def fits(self, job: Job) -> bool:
        """Whether a job can be done beside those on their way: they have to draw alike to be drawn together.

        One that lost its worker may have killed it, so it is done by itself, where it takes nobody along. A job that is
        still here, though it was given to this worker anew, has to leave first. And turns that were taken by an earlier
        life come back all at once, whatever the queue's concurrency: they wait for a place.
        """
        others = [running.job for running in self.members]
        if any(job.id == other.id or job.lost or other.lost for other in others):
            return False
        return len(others) < self.places and all(_alike(job, other) for other in others)

    def _go_on(self) -> None:
        now = time.monotonic()
        if self._members:
            self._share += (now - self._shared_until) / len(self._members)
        self._shared_until = now


def _alike(job: Job, other: Job) -> bool:
    same = ("checkpoint", "width", "height")
    return job.kind == other.kind == JobKind.GENERATE and all(
        job.request.get(name) == other.request.get(name) for name in same
    )
