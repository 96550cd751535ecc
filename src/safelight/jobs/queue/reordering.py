"""Moving a queued job before another one of its owner, without changing the shares of owners.

The owner's queued jobs keep their virtual start times and are dealt new virtual times in the new order, as if they had
been submitted in it: no job gets ahead of other owners' jobs that it would not have preceded then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select, update

from safelight.database.coordination import acquire_transaction_lock
from safelight.errors import JobMoveError, JobNotQueuedError
from safelight.jobs.job import JobState
from safelight.jobs.queue.scheduling import MAX_PASSED
from safelight.jobs.queue.state import count_change
from safelight.jobs.queue.tables import jobs
from safelight.jobs.queue.transitions import get_row


@dataclass(frozen=True)
class PlacedJob:
    """A queued job of an owner.

    Args:
        id: The job's id.
        turn: Its virtual time.
        cost: Its cost.
    """

    id: str
    turn: float
    cost: float


def move_job(connection: Connection, job_id: str, before: str | None, owner: str | None) -> bool:
    """Move a queued job before another one of the same owner and priority.

    Args:
        connection: A connection in a writing transaction.
        job_id: The job to move.
        before: The job that is to follow it; None to move it behind all others.
        owner: The owner that both jobs must have; None for any owner.

    Returns:
        Whether the order has changed.

    Raises:
        JobMissingError: There is no such job, or it belongs to another owner.
        JobNotQueuedError: One of them is not queued.
        JobMoveError: The jobs have different owners or priorities.
    """
    moved = get_row(connection, job_id, owner)
    acquire_transaction_lock(connection, moved["owner"])  # the virtual time of a new job depends on these
    if before is not None:
        _check_comparable(moved, get_row(connection, before, owner))
    query = (
        select(jobs.c.id, jobs.c.turn, jobs.c.cost)
        .where(
            jobs.c.owner == moved["owner"],
            jobs.c.state == JobState.QUEUED,
            jobs.c.priority == moved["priority"],
        )
        .order_by(jobs.c.turn, jobs.c.id)  # the order in which claims lock them
        .with_for_update()
    )
    queue = [PlacedJob(**row) for row in connection.execute(query).mappings()]
    queued = {job.id for job in queue}
    for named in (job_id, before or job_id):
        if named not in queued:
            raise JobNotQueuedError(f"The job {named} is {get_row(connection, named)['state']}.")
    changed, preceding = reorder(queue, job_id, before)
    if not preceding:
        return False
    for job in changed:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(turn=job.turn))
    # not even a job whose checkpoint is loaded may overtake one that was put before it
    pinned = jobs.c.id.in_(preceding) & (jobs.c.passed < MAX_PASSED)
    connection.execute(update(jobs).where(pinned).values(passed=MAX_PASSED))
    count_change(connection)
    return True


def reorder(queue: Sequence[PlacedJob], job_id: str, before: str | None) -> tuple[list[PlacedJob], list[str]]:
    """The new virtual times of an owner's queued jobs.

    Args:
        queue: The jobs of one priority in their present order.
        job_id: The one to move.
        before: The one that is to follow it; None for the end.

    Returns:
        The jobs whose virtual time may change, with the new one; and the ids of those that now precede a job that
        preceded them, none if the order stays the same.
    """
    ids = [job.id for job in queue]
    start = ids.index(job_id)
    others = [job for job in queue if job.id != job_id]
    if before == job_id:
        return [], []
    end = len(others) if before is None else [job.id for job in others].index(before)
    preceding = [job_id] if end < start else ids[start + 1 : end + 1]
    order = [*others[:end], queue[start], *others[end:]]
    first = min(start, end)
    turn = queue[first - 1].turn if first else -math.inf
    changed = []
    for place, job in zip(queue[first:], order[first:], strict=True):
        turn = max(max(turn, place.turn - place.cost) + job.cost, math.nextafter(turn, math.inf))
        changed.append(PlacedJob(job.id, turn, job.cost))
    return changed, preceding


def _check_comparable(moved: RowMapping, target: RowMapping) -> None:
    if target["owner"] != moved["owner"]:
        raise JobMoveError("The two jobs belong to different owners, whose shares of the queue are equal.")
    if target["priority"] != moved["priority"]:
        raise JobMoveError(
            f"The two jobs have the priorities {moved['priority']} and {target['priority']}; the larger goes first."
        )
