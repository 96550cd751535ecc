"""Submit jobs to the queue and send them signals, for every API family."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import exists, select
from structlog.contextvars import get_contextvars

from safelight.database.coordination import now
from safelight.database.engine import read_transaction
from safelight.errors import RequestError
from safelight.generation.defaults import with_checkpoint_defaults
from safelight.generation.request import GenerationRequest, RequestPart
from safelight.images import DecodeLimits
from safelight.images.fields import find_images
from safelight.jobs.cost import JobSize, check_size
from safelight.jobs.job import Job, Priority, Signal, Submission, Timeout
from safelight.jobs.payloads import parse_request, store_request, with_seed
from safelight.jobs.queue.tables import jobs
from safelight.jobs.task import TASKS
from safelight.server.core.app_state import AppState
from safelight.server.security.allowlist import check_adapter
from safelight.server.security.dependencies import Principal
from safelight.settings import CheckpointDefaults


async def submit(
    app_state: AppState,
    principal: Principal,
    kind: str,
    fields: Mapping[str, Any],
    *,
    priority: Priority = 0,
    timeout: Timeout | None = None,
    idempotency_key: str | None = None,
    request_id: str = "",
    parent: str | None = None,
) -> Job:
    """Check a request and put it into the queue.

    Args:
        app_state: The application's state.
        principal: The principal; the job is charged to its limits first.
        kind: The job kind.
        fields: The request's fields, with images as bytes.
        priority: Jobs of higher priority run first; users may not go above 0.
        timeout: Maximum seconds of running time.
        idempotency_key: A repeated key returns the same job, and is charged once.
        request_id: The id of the HTTP request; that of the current context when not given.
        parent: The gallery entry that the job's pictures are made from, which the principal may see.

    Raises:
        JobKindUnknownError: There is no such job kind.
        RequestError, ImageError: A field or an image is invalid.
        AdapterMissingError, AdapterAmbiguousError: There is no adapter of a name, or there are several.
        JobTooLargeError: The job exceeds the maximum work of one job.
        RateLimitError, QuotaError: The principal's limits would be exceeded.
        IdempotencyConflictError, QueueFullError, OwnerJobsLimitError, OwnerBytesLimitError, DatabaseError: Nothing
            was queued.
    """

    def submit_in_thread() -> Job:
        task = TASKS[kind]
        _check_bytes(kind, fields)
        request = parse_request(kind, fields)
        settings = app_state.service.settings
        open_fields: tuple[str, ...] = ()
        if isinstance(request, GenerationRequest):
            open_fields = tuple(
                name for name in CheckpointDefaults.model_fields if getattr(request, name) is None
            )
            second = request.hires.adapters if request.hires is not None else None
            for adapter in (*request.adapters, *(second or ())):
                check_adapter(adapter.name, settings)
            request = with_checkpoint_defaults(with_seed(request, idempotency_key), settings)
        size = task.size(request, DecodeLimits.of(settings))
        check_size(size, settings.max_job_work)
        checkpoint = getattr(request, "checkpoint", None) or settings.checkpoint
        body, pictures = store_request(request)
        submission = Submission(
            kind=kind,
            request=body,
            owner=principal.owner,
            priority=priority,
            timeout=timeout,
            idempotency_key=idempotency_key,
            request_id=current_request_id,
            parent=parent,
            checkpoint=checkpoint if task.uses_checkpoint else "",
            open_fields=open_fields,
            cost=size.cost,
        )

        def queue_job() -> Job:
            return app_state.service.store.submit(submission, pictures, shared=principal.key_id is not None)

        is_repeated = _is_submitted(app_state, principal, idempotency_key)
        job = (
            queue_job()
            if is_repeated
            else _charge_and_queue(app_state, principal, size, current_request_id, queue_job)
        )
        app_state.audit_log.write(
            "job.submitted", job_id=job.id, kind=kind, **_audit_fields(request, app_state)
        )
        return job

    current_request_id = request_id or get_contextvars().get("request_id", "")
    return await app_state.threads.run_write(submit_in_thread)


def _charge_and_queue(
    app_state: AppState, principal: Principal, size: JobSize, request_id: str, queue: Callable[[], Job]
) -> Job:
    """Charge a request and queue it; refund it if this call creates no job."""
    with app_state.rate_limiter.charged(principal, pictures=size.pictures, pixels=size.pixels):
        job = queue()
    if job.request_id != request_id:  # a concurrent call with the same key was charged
        app_state.rate_limiter.refund(principal, pictures=size.pictures, pixels=size.pixels)
    return job


async def find_latest(
    app_state: AppState, principal: Principal, key_prefix: str, seconds: float
) -> Job | None:
    """The principal's newest job of the last seconds whose idempotency key has a prefix; None if there is none."""

    def find() -> Job | None:
        condition = (jobs.c.owner == principal.owner) & jobs.c.idempotency_key.startswith(
            key_prefix, autoescape=True
        )
        with read_transaction(app_state.service.engine) as connection:
            since = now(connection) - timedelta(seconds=seconds)
            query = select(jobs.c.id).where(condition, jobs.c.created > since)
            job_id = connection.execute(query.order_by(jobs.c.id.desc()).limit(1)).scalar()
        return None if job_id is None else app_state.service.store.get(job_id)

    return await asyncio.to_thread(find)


async def send_signal(app_state: AppState, job_id: str, signal: Signal, owner: str | None) -> Job:
    """Signal one job to stop, and write that to the audit log.

    Args:
        app_state: The application's state.
        job_id: The job's id.
        signal: How the job is to stop.
        owner: The owner that the job must have; None for any owner.

    Raises:
        JobMissingError: There is no such job, or it belongs to another owner.
        JobEndedError: The job has ended already.
    """

    def submit_in_thread() -> Job:
        store = app_state.service.store
        before = store.signals([job_id]).get(job_id)
        job = store.send_signal(job_id, signal, owner)
        if before != signal:  # once: repeated signals must not displace other entries of the log
            app_state.audit_log.write(f"job.{signal}", job_id=job.id)
        return job

    return await app_state.threads.run_write(submit_in_thread)


def _check_bytes(kind: str, fields: Mapping[str, Any]) -> None:
    """Refuse an image that is given as text: from here on, text would be the path of a file."""
    for found in find_images(TASKS[kind].request, fields):
        if not isinstance(found.value, bytes):
            raise RequestError(f"{found.name}: a picture has to be its file's bytes.")


def _is_submitted(app_state: AppState, principal: Principal, idempotency_key: str | None) -> bool:
    """Whether a job with this idempotency key exists, so that a repeated request makes no further work."""
    if idempotency_key is None:
        return False
    condition = (jobs.c.owner == principal.owner) & (jobs.c.idempotency_key == idempotency_key)
    with read_transaction(app_state.service.engine) as connection:
        return bool(connection.execute(select(exists().where(condition))).scalar())


def _audit_fields(request: RequestPart, app_state: AppState) -> dict[str, str]:
    """The fields of a request for the audit log: its prompt, if the settings ask for it."""
    if app_state.service.settings.audit_prompts and isinstance(request, GenerationRequest):
        return {"prompt": request.prompt}
    return {}
