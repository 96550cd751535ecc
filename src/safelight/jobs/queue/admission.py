"""Limits on how much may wait in the queue, in total and per owner.

An owner who shares the queue may have as many jobs waiting as there are free places (the dynamic threshold of
Choudhury and Hahne, 1998): half of the queue when alone, and less the fuller the queue is. So no owner can fill it:
others always find half of the remaining places free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import Connection, func, select

from safelight.errors import OwnerBytesLimitError, OwnerJobsLimitError, QueueFullError
from safelight.jobs.job import JobState
from safelight.jobs.queue.tables import job_inputs, jobs
from safelight.settings import Settings

RETRY_AFTER = 10.0
"""Seconds after which a rejected client may retry: places become free one by one."""


@dataclass(frozen=True)
class QueueLimits:
    """Limits on waiting jobs.

    Args:
        capacity: Jobs of all owners together.
        per_owner: Jobs of one owner who shares the queue.
        bytes_per_owner: Bytes of the input pictures of such an owner's unfinished jobs.
    """

    capacity: int = 10_000
    per_owner: int = 1000
    bytes_per_owner: int = 1024**3


@dataclass(frozen=True)
class QueueRules:
    """How the queue treats jobs.

    Args:
        retention: Seconds for which a finished job and its events are kept.
        max_attempts: How many workers in a row may be lost with a job that has finished no picture; then the job
            fails, since it may be what kills the workers.
        limits: Limits on waiting jobs.
    """

    retention: float = 7 * 86400
    max_attempts: int = 3
    limits: QueueLimits = field(default_factory=QueueLimits)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The rules that the settings give now."""
        limits = QueueLimits(
            settings.queue_capacity, settings.waiting_per_owner, settings.waiting_bytes_per_owner
        )
        return cls(settings.job_retention, settings.max_attempts, limits)


def check_admission(connection: Connection, limits: QueueLimits, owner: str | None, nbytes: int) -> None:
    """Check that the queue has room for one more job.

    Args:
        connection: The transaction that is to insert the job.
        limits: Limits on waiting jobs.
        owner: The job's owner; None for an owner who does not share the queue.
        nbytes: Size of the job's pictures.

    Raises:
        QueueFullError: Too many jobs wait.
        OwnerJobsLimitError, OwnerBytesLimitError: This owner has too many jobs waiting, or too many bytes stored.
    """
    waiting = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED)
    total = connection.execute(waiting).scalar_one()
    if total >= limits.capacity:
        raise QueueFullError(f"{total} jobs wait already.")
    if owner is None:
        return
    own_jobs = connection.execute(waiting.where(jobs.c.owner == owner)).scalar_one()
    allowed = min(limits.per_owner, limits.capacity - total)
    if own_jobs >= allowed:
        raise OwnerJobsLimitError(
            f"{own_jobs} of your jobs wait already; with {limits.capacity - total} places left, at most {allowed} may.",
            retry_after=RETRY_AFTER,
        )
    if nbytes:
        _check_bytes(connection, limits, owner, nbytes)


def _check_bytes(connection: Connection, limits: QueueLimits, owner: str, nbytes: int) -> None:
    query = select(func.coalesce(func.sum(job_inputs.c.bytes), 0)).where(job_inputs.c.owner == owner)
    stored = int(connection.execute(query).scalar_one())
    if stored + nbytes > limits.bytes_per_owner:
        permanent = nbytes > limits.bytes_per_owner
        raise OwnerBytesLimitError(
            f"The job's pictures have {nbytes} bytes and those of your unfinished jobs {stored}; "
            f"{limits.bytes_per_owner} are allowed together.",
            hint="Send smaller files, or fewer at once." if permanent else None,
            retry_after=None if permanent else RETRY_AFTER,
        )
