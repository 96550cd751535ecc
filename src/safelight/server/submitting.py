"""From a checked request to a job in the queue, for every family of routes; and the signals that stop one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import exists, select
from structlog.contextvars import get_contextvars

from safelight.database.engine import reading
from safelight.errors import RequestError
from safelight.generation.request import GenerationRequest, Part
from safelight.images import DecodeLimits
from safelight.images.fields import find_images
from safelight.jobs.job import Job, JobKind, Priority, Signal, Submission, Timeout
from safelight.jobs.requests import REQUESTS, checked, separated, with_seed
from safelight.jobs.sizes import Size, check_size, size_of
from safelight.jobs.tables import jobs
from safelight.server.auth import Caller
from safelight.server.state import Backstage


async def submit(
    behind: Backstage,
    caller: Caller,
    kind: JobKind,
    fields: Mapping[str, Any],
    *,
    priority: Priority = 0,
    timeout: Timeout | None = None,
    idempotency_key: str | None = None,
    request_id: str = "",
) -> Job:
    """Check a request and put it into the queue.

    Args:
        behind: The server's open things.
        caller: Who asks; their limits are counted before.
        kind: What to do.
        fields: The request's fields, with pictures as bytes.
        priority: Larger goes first; users may not go above 0.
        timeout: Seconds it may run.
        idempotency_key: The same key again gives the same job, and counts once.
        request_id: Of the call; that which is being answered when not given.

    Raises:
        RequestError, ImageError: A field, or a picture, cannot be used.
        JobSizeError: It is more work than one job may be.
        RateLimitError, QuotaError: It is more than the caller may ask for.
        IdempotencyError, QueueFullError, QueueShareError, QueueBytesError, DatabaseError: Nothing was queued.
    """

    def put() -> Job:
        _check_bytes(kind, fields)
        request = checked(kind, fields)
        if isinstance(request, GenerationRequest):
            request = with_seed(request, idempotency_key)
        settings = behind.service.settings
        size = size_of(request, DecodeLimits.of(settings))
        check_size(size, settings.max_job_work)
        checkpoint = getattr(request, "checkpoint", None) or settings.checkpoint
        body, pictures = separated(request)
        submission = Submission(
            kind=kind,
            request=body,
            owner=caller.owner,
            priority=priority,
            timeout=timeout,
            idempotency_key=idempotency_key,
            request_id=called,
            checkpoint=checkpoint if kind is JobKind.GENERATE else "",
            cost=size.cost,
        )

        def queued() -> Job:
            return behind.service.ledger.submit(submission, pictures, shares=caller.key_id is not None)

        known = _is_known(behind, caller, idempotency_key)
        job = queued() if known else _charged(behind, caller, size, called, queued)
        behind.audit.note("job.submitted", job_id=job.id, kind=kind, **_told_of(request, behind))
        return job

    called = request_id or get_contextvars().get("request_id", "")
    return await behind.threads.write(put)


def _charged(behind: Backstage, caller: Caller, size: Size, called: str, queue: Callable[[], Job]) -> Job:
    """Count a request and queue it; what becomes no job of this call costs nothing."""
    with behind.limits.charged(caller, pictures=size.pictures, pixels=size.pixels):
        job = queue()
    if job.request_id != called:  # another call with the same idempotency key was quicker, and has paid
        behind.limits.refund(caller, pictures=size.pictures, pixels=size.pixels)
    return job


async def latest(behind: Backstage, caller: Caller, mark: str, seconds: float) -> Job | None:
    """The caller's newest job of the last so many seconds whose idempotency key begins in a way; None for none."""

    def find() -> Job | None:
        same = (jobs.c.owner == caller.owner) & jobs.c.idempotency_key.startswith(mark, autoescape=True)
        query = select(jobs.c.id).where(same, jobs.c.created > time.time() - seconds)
        with reading(behind.service.engine) as connection:
            job_id = connection.execute(query.order_by(jobs.c.id.desc()).limit(1)).scalar()
        return None if job_id is None else behind.service.ledger.get(job_id)

    return await asyncio.to_thread(find)


async def tell(behind: Backstage, job_id: str, signal: Signal, owner: str | None) -> Job:
    """Tell one job to stop, and note that somebody did.

    Args:
        behind: The server's open things.
        job_id: Which.
        signal: How it is to stop.
        owner: Only if it is theirs; anybody's with None.

    Raises:
        JobMissingError: There is none, or it is somebody else's.
        JobOverError: It has ended already.
    """

    def put() -> Job:
        ledger = behind.service.ledger
        before = ledger.signals([job_id]).get(job_id)
        job = ledger.signal(job_id, signal, owner)
        if before != signal:  # once: who says it a thousand times is not to drive out what else is noted
            behind.audit.note(f"job.{signal}", job_id=job.id)
        return job

    return await behind.threads.write(put)


def _check_bytes(kind: JobKind, fields: Mapping[str, Any]) -> None:
    """Refuse an image that is given as text: from here on, text would be the path of a file."""
    for found in find_images(REQUESTS[kind], fields):
        if not isinstance(found.value, bytes):
            raise RequestError(f"{found.name}: a picture has to be its file's bytes.")


def _is_known(behind: Backstage, caller: Caller, idempotency_key: str | None) -> bool:
    """Whether this was submitted before, so that asking again makes no further work."""
    if idempotency_key is None:
        return False
    same = (jobs.c.owner == caller.owner) & (jobs.c.idempotency_key == idempotency_key)
    with reading(behind.service.engine) as connection:
        return bool(connection.execute(select(exists().where(same))).scalar())


def _told_of(request: Part, behind: Backstage) -> dict[str, str]:
    """What the audit log is to hold of a request: its prompt, only where that was asked for."""
    if behind.service.settings.audit_prompts and isinstance(request, GenerationRequest):
        return {"prompt": request.prompt}
    return {}
