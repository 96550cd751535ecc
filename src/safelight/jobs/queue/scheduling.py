"""Fair scheduling between owners, with a preference for checkpoints that are already loaded.

The algorithm is self-clocked fair queueing (Golestani, 1994): a new job gets the virtual time ``max(clock, owner's
last virtual time) + cost``, and the job with the smallest one runs first. An owner with a hundred queued jobs and one
with a single job are served alternately, and an owner who was idle gains no advantage: the clock is the largest
virtual time of a claimed job. Each priority is a queue of its own with its own clock, so that a job of one
priority does not advance the clocks of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LOOKAHEAD = 8
"""How many positions of the queue a worker searches for a job whose checkpoint is loaded."""
MAX_PASSED = 4
"""How often other jobs may overtake a job before it is next in any case."""

TIME_SLICE = 10.0
"""Seconds that a worker's jobs run before they pause for jobs of other owners."""


@dataclass(frozen=True)
class QueuedJob:
    """The fields of a queued job that matter for scheduling."""

    id: str
    priority: int
    turn: float
    checkpoint: str
    passed: int = 0


@dataclass(frozen=True)
class Preemption:
    """The priority and the owners of a worker's jobs, which decide which jobs may preempt them.

    Jobs of a higher priority may, and jobs of the same priority of owners that are not excluded.

    Args:
        priority: The priority of the worker's jobs.
        excluded_owners: Owners whose jobs may not preempt: those of the worker's jobs, and those who have used
            more of its
            time.
    """

    priority: int
    excluded_owners: frozenset[str]


@dataclass(frozen=True)
class ScheduledJob:
    """The job to claim, and the jobs that it overtakes."""

    job: QueuedJob
    passed: tuple[QueuedJob, ...] = ()


def next_virtual_time(clock: float, last: float | None, cost: float) -> float:
    """The virtual time of a new job.

    Args:
        clock: Largest virtual time of a claimed job of this priority.
        last: Largest virtual time of the owner's queued jobs of this priority, if there are any.
        cost: The job's cost.
    """
    return max(clock, last or 0.0) + cost


def choose_job(queue: Sequence[QueuedJob], loaded: frozenset[str]) -> ScheduledJob | None:
    """The next job of a queue that is ordered by priority and virtual time.

    A job whose checkpoint is loaded may overtake others of the same priority, at most ``LOOKAHEAD`` positions and
    each of them at most ``MAX_PASSED`` times.

    Args:
        queue: The first queued jobs, in order.
        loaded: Checkpoints in memory.
    """
    if not queue:
        return None
    passed: list[QueuedJob] = []
    for job in queue[:LOOKAHEAD]:
        if job.priority != queue[0].priority:
            break
        if job.checkpoint in loaded or not job.checkpoint:
            return ScheduledJob(job, tuple(passed))
        if job.passed >= MAX_PASSED:
            break
        passed.append(job)
    return ScheduledJob(queue[0])
