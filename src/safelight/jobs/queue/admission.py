"""Whether a job may wait: the queue has an end, and no owner gets to it alone.

An owner who shares the queue may have as many jobs waiting as there are places left (the dynamic threshold of Choudhury
and Hahne, 1998): alone half of the queue, and beside others the less the fuller it is. Nobody fills it for the others,
who find half of what was left there.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from safelight.errors import OwnerBytesLimitError, OwnerJobsLimitError, QueueFullError
from safelight.jobs.job import JobState
from safelight.jobs.queue.tables import job_inputs, jobs

TRY_AGAIN = 10.0
"""Seconds after which somebody who was refused may ask again: places come free one by one."""


@dataclass(frozen=True)
class QueueLimits:
    """How much may wait.

    Args:
        capacity: Jobs, of everybody together.
        per_owner: Jobs of one owner who shares the queue.
        bytes_per_owner: Bytes of the pictures that the unfinished jobs of such an owner came with.
    """

    capacity: int = 10_000
    per_owner: int = 1000
    bytes_per_owner: int = 1024**3


def admit(connection: Connection, limits: QueueLimits, owner: str | None, nbytes: int) -> None:
    """Refuse one more job where there is no room for it.

    Args:
        connection: The transaction that is to write it.
        limits: How much may wait.
        owner: Whose it is; None for who has the queue to themselves.
        nbytes: Of its pictures.

    Raises:
        QueueFullError: Too many jobs wait.
        OwnerJobsLimitError, OwnerBytesLimitError: Too much of this owner's waits.
    """
    waiting = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED)
    total = connection.execute(waiting).scalar_one()
    if total >= limits.capacity:
        raise QueueFullError(f"{total} jobs wait already.")
    if owner is None:
        return
    own = connection.execute(waiting.where(jobs.c.owner == owner)).scalar_one()
    allowed = min(limits.per_owner, limits.capacity - total)
    if own >= allowed:
        raise OwnerJobsLimitError(
            f"{own} of your jobs wait already; with {limits.capacity - total} places left, at most {allowed} may.",
            retry_after=TRY_AGAIN,
        )
    if nbytes:
        _admit_bytes(connection, limits, owner, nbytes)


def _admit_bytes(connection: Connection, limits: QueueLimits, owner: str, nbytes: int) -> None:
    theirs = select(func.coalesce(func.sum(job_inputs.c.bytes), 0)).where(job_inputs.c.owner == owner)
    kept = int(connection.execute(theirs).scalar_one())
    if kept + nbytes > limits.bytes_per_owner:
        never = nbytes > limits.bytes_per_owner
        raise OwnerBytesLimitError(
            f"The job's pictures have {nbytes} bytes and those of your unfinished jobs {kept}; "
            f"{limits.bytes_per_owner} are allowed together.",
            hint="Send smaller files, or fewer at once." if never else None,
            retry_after=None if never else TRY_AGAIN,
        )
