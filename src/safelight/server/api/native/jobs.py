"""``/v1/jobs``: submit, list, read and stop jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response

from safelight.errors import (
    BlockedError,
    BodyTooLargeError,
    CheckpointMissingError,
    ControlMissingError,
    EntryFileMissingError,
    EntryMissingError,
    FieldError,
    IdempotencyConflictError,
    ImageFormatError,
    JobEndedError,
    JobKindUnknownError,
    JobMissingError,
    JobNotSkippableError,
    PriorityError,
    QueueFullError,
    SamplerUnknownError,
    UnsupportedMediaTypeError,
    UpscalerUnknownError,
)
from safelight.jobs.job import Job, JobState, Signal
from safelight.jobs.task import TASKS
from safelight.server.api.job_fields import check_names, decode_images
from safelight.server.api.native import job_events, job_results
from safelight.server.api.native.common import JobId, RequestedJob
from safelight.server.api.native.openapi_responses import error_responses, example_response, multipart_body
from safelight.server.api.native.schemas.jobs import DerivedJob, GenerateJob, JobBody, JobOptions, JobPage
from safelight.server.api.openapi_examples import JOB, JOBS, SUBMISSIONS
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.request_bodies.multipart import FormRoute
from safelight.server.core.submission import send_signal, submit
from safelight.server.security.allowlist import with_allowed_names
from safelight.server.security.dependencies import CurrentPrincipal, Principal, Role

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=FormRoute)
OWN_FIELDS = {"kind", "priority", "timeout", "parent", "init_from_parent"}
"""The fields of a body that belong to the job, not to its request."""
STOP_RESPONSES = error_responses(JobMissingError, JobEndedError) | example_response(JOB, 202)

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Repeating a key returns the job of its first request."),
]
Before = Annotated[
    str | None,
    Query(pattern="^[0-9a-f]{27}$", description="Only jobs older than this one: next of the previous page."),
]


@router.post(
    "",
    status_code=202,
    operation_id="submit_job",
    summary="Submit a job",
    responses=error_responses(
        BlockedError,
        BodyTooLargeError,
        CheckpointMissingError,
        ControlMissingError,
        EntryFileMissingError,
        EntryMissingError,
        FieldError,
        IdempotencyConflictError,
        ImageFormatError,
        UnsupportedMediaTypeError,
        PriorityError,
        QueueFullError,
        SamplerUnknownError,
        UpscalerUnknownError,
    )
    | example_response(
        JOB, 202, headers={"Location": {"description": "The job.", "schema": {"type": "string"}}}
    ),
    openapi_extra={"requestBody": {"content": multipart_body("init_image", "mask", "image", "images")}},
)
async def submit_job(
    body: Annotated[JobBody, Body(openapi_examples=dict(SUBMISSIONS))],
    response: Response,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Queue a generation, an upscaling or a scan, and return at once.

    In multipart/form-data each picture is a part of its own, and all other fields are JSON in the part ``request``.
    A picture of the gallery is named by gallery: and its id; nothing has to be downloaded and uploaded.
    A job continues when the client that submitted it disconnects; its result is kept until it expires.
    """
    if body.priority > 0 and principal.role is not Role.ADMIN:
        raise PriorityError
    parent = await _check_parent(body, app_state, principal)
    given = body.model_dump(exclude_unset=True, exclude=OWN_FIELDS)
    decoded = await decode_images(type(body), given, app_state, principal)
    check = check_names if isinstance(body, GenerateJob) else with_allowed_names
    fields = await asyncio.to_thread(check, decoded, app_state.service.settings)
    job = await submit(
        app_state,
        principal,
        body.kind,
        fields,
        priority=body.priority,
        timeout=body.timeout,
        idempotency_key=idempotency_key,
        parent=parent,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs",
    responses=error_responses(JobKindUnknownError) | example_response(JOBS),
)
async def list_jobs(
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    state: Annotated[list[JobState], Query(description="Only those in one of these states.")] = [],  # noqa: B006
    kind: Annotated[str | None, Query(description="Only those of a kind.")] = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobPage:
    """The user's jobs, newest first; administrators see those of all users. Only a single job includes its result."""
    if kind is not None:
        kind = TASKS[kind].kind  # refuses an unknown one
    found = await asyncio.to_thread(
        app_state.service.store.find, principal.scope, states=state, kind=kind, before=before, limit=limit + 1
    )
    shown = found[:limit]
    return JobPage(jobs=shown, next=shown[-1].id if len(found) > limit else None)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    responses=error_responses(JobMissingError) | example_response(JOB),
)
async def get_job(job: RequestedJob) -> Job:
    """A job's place in the queue, estimated time, progress and result."""
    return job


@router.delete(
    "/{job_id}",
    status_code=202,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=STOP_RESPONSES,
)
async def cancel_job(job_id: JobId, app_state: CurrentAppState, principal: CurrentPrincipal) -> Job:
    """Cancel a job: a queued one at once, a running one at its next step. Finished pictures are kept."""
    return await send_signal(app_state, job_id, Signal.CANCEL, principal.scope)


@router.post(
    "/{job_id}/finish",
    status_code=202,
    operation_id="finish_job",
    summary="Finish a job early",
    responses=STOP_RESPONSES,
)
async def finish_job(job_id: JobId, app_state: CurrentAppState, principal: CurrentPrincipal) -> Job:
    """Keep the picture in progress as it is, skip the rest, and succeed. A queued job is cancelled."""
    return await send_signal(app_state, job_id, Signal.FINISH, principal.scope)


@router.post(
    "/{job_id}/skip",
    status_code=202,
    operation_id="skip_picture",
    summary="Skip a picture",
    responses=error_responses(JobMissingError, JobEndedError, JobNotSkippableError)
    | example_response(JOB, 202),
)
async def skip_picture(job_id: JobId, app_state: CurrentAppState, principal: CurrentPrincipal) -> Job:
    """Discard the picture in progress and continue with the next. A queued job is cancelled."""
    return await send_signal(app_state, job_id, Signal.SKIP, principal.scope)


async def _check_parent(body: JobOptions, app_state: AppState, principal: Principal) -> str | None:
    """The id of the parent that a body names, if any.

    Raises:
        EntryMissingError: There is no such entry, or the principal may not see it.
    """
    if not isinstance(body, DerivedJob) or body.parent is None:
        return None
    try:
        return (await asyncio.to_thread(app_state.service.gallery.get, body.parent, principal.scope)).id
    except EntryMissingError as error:
        error.field = "parent"
        raise


router.include_router(job_events.router)
router.include_router(job_results.router)
