"""Whose turn it is: fair between owners, and kind to the checkpoint that is already in memory.

Turns are given by self-clocked fair queueing (Golestani, 1994): a new job gets the virtual time at which its owner's
share is used up, ``max(clock, owner's last turn) + cost``, and the smallest goes first. An owner with a hundred jobs
waiting and one with a single job are served alternately, and nobody saves up for having been away: the clock is the
largest turn that was begun. Each priority is a queue of its own with a clock of its own, so that what goes before all
others does not move them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LOOKAHEAD = 8
"""How far down the queue a worker looks for a job whose checkpoint it has."""
PATIENCE = 4
"""How often others may be preferred to a job before it is next whatever it needs."""

SLICE = 10.0
"""Seconds that a worker's jobs are done before they pause for those of other owners."""


@dataclass(frozen=True)
class Waiting:
    """A queued job, as far as its turn is concerned."""

    id: str
    priority: int
    turn: float
    checkpoint: str
    passed: int = 0


@dataclass(frozen=True)
class Holders:
    """Who has a worker: those of a higher priority go before them, and of the same one those of other owners.

    Args:
        priority: Theirs.
        owners: Whose jobs do not go before them: their own, and those of whoever has had more of the worker's time.
    """

    priority: int
    owners: frozenset[str]


@dataclass(frozen=True)
class Choice:
    """The job to begin, and those it is preferred to, which will be more pressing the next time."""

    job: Waiting
    passed: tuple[Waiting, ...] = ()


def next_turn(clock: float, last: float | None, cost: float) -> float:
    """The virtual time of a new job.

    Args:
        clock: Largest turn that was begun, of its priority.
        last: Largest turn of its owner's waiting jobs of that priority, if there are any.
        cost: How much of the owner's share the job takes.
    """
    return max(clock, last or 0.0) + cost


def choose(queue: Sequence[Waiting], loaded: frozenset[str]) -> Choice | None:
    """The next job of a queue in order of priority and turn.

    A job whose checkpoint is in memory may go before others of the same priority, at most ``LOOKAHEAD`` places and at
    most ``PATIENCE`` times before the same one.

    Args:
        queue: The first waiting jobs, in order.
        loaded: Checkpoints in memory.
    """
    if not queue:
        return None
    passed: list[Waiting] = []
    for job in queue[:LOOKAHEAD]:
        if job.priority != queue[0].priority:
            break
        if job.checkpoint in loaded or not job.checkpoint:
            return Choice(job, tuple(passed))
        if job.passed >= PATIENCE:
            break
        passed.append(job)
    return Choice(queue[0])
