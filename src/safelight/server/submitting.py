"""Submit jobs to the queue and send them signals, for every API family."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import exists, select
from structlog.contextvars import get_contextvars

from safelight.database.engine import reading
from safelight.database.hosts import now
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
        behind: The application's state.
        caller: The principal; the job is charged to its limits first.
        kind: The kind of job.
        fields: The request's fields, with images as bytes.
        priority: Jobs of higher priority run first; users may not go above 0.
        timeout: Maximum seconds of running time.
        idempotency_key: A repeated key returns the same job, and is charged once.
        request_id: The id of the HTTP request; that of the current context when not given.

    Raises:
        RequestError, ImageError: A field or an image is invalid.
        JobSizeError: The job exceeds the maximum work of one job.
        RateLimitError, QuotaError: The principal's limits would be exceeded.
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
    """Charge a request and queue it; refund it if this call creates no job."""
    with behind.limits.charged(caller, pictures=size.pictures, pixels=size.pixels):
        job = queue()
    if job.request_id != called:  # a concurrent call with the same key was charged
        behind.limits.refund(caller, pictures=size.pictures, pixels=size.pixels)
    return job


async def latest(behind: Backstage, caller: Caller, mark: str, seconds: float) -> Job | None:
    """The principal's newest job of the last seconds whose idempotency key has a prefix; None if there is none."""

    def find() -> Job | None:
        same = (jobs.c.owner == caller.owner) & jobs.c.idempotency_key.startswith(mark, autoescape=True)
        with reading(behind.service.engine) as connection:
            since = now(connection) - timedelta(seconds=seconds)
            query = select(jobs.c.id).where(same, jobs.c.created > since)
            job_id = connection.execute(query.order_by(jobs.c.id.desc()).limit(1)).scalar()
        return None if job_id is None else behind.service.ledger.get(job_id)

    return await asyncio.to_thread(find)


async def tell(behind: Backstage, job_id: str, signal: Signal, owner: str | None) -> Job:
    """Signal one job to stop, and write that to the audit log.

    Args:
        behind: The application's state.
        job_id: The job's id.
        signal: How the job is to stop.
        owner: The owner that the job must have; None for any owner.

    Raises:
        JobMissingError: There is no such job, or it belongs to another owner.
        JobOverError: The job has ended already.
    """

    def put() -> Job:
        ledger = behind.service.ledger
        before = ledger.signals([job_id]).get(job_id)
        job = ledger.signal(job_id, signal, owner)
        if before != signal:  # once: repeated signals must not displace other entries of the log
            behind.audit.note(f"job.{signal}", job_id=job.id)
        return job

    return await behind.threads.write(put)


def _check_bytes(kind: JobKind, fields: Mapping[str, Any]) -> None:
    """Refuse an image that is given as text: from here on, text would be the path of a file."""
    for found in find_images(REQUESTS[kind], fields):
        if not isinstance(found.value, bytes):
            raise RequestError(f"{found.name}: a picture has to be its file's bytes.")


def _is_known(behind: Backstage, caller: Caller, idempotency_key: str | None) -> bool:
    """Whether a job with this idempotency key exists, so that a repeated request makes no further work."""
    if idempotency_key is None:
        return False
    same = (jobs.c.owner == caller.owner) & (jobs.c.idempotency_key == idempotency_key)
    with reading(behind.service.engine) as connection:
        return bool(connection.execute(select(exists().where(same))).scalar())


def _told_of(request: Part, behind: Backstage) -> dict[str, str]:
    """The fields of a request for the audit log: its prompt, if the settings ask for it."""
    if behind.service.settings.audit_prompts and isinstance(request, GenerationRequest):
        return {"prompt": request.prompt}
    return {}
