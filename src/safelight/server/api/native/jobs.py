"""``/v1/jobs``: submit, list, read and stop jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

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
    SafelightError,
    SamplerUnknownError,
    UnsupportedMediaTypeError,
    UpscalerUnknownError,
)
from safelight.generation.plan import check_sides
from safelight.generation.prompts import load_styles, select_styles
from safelight.generation.solvers.samplers import check_sampler_names
from safelight.images.fields import find_images, replace_images
from safelight.jobs.job import Job, JobKind, JobState, Signal
from safelight.jobs.task import TASKS
from safelight.server.api.checkpoint_names import select_checkpoint
from safelight.server.api.native import job_events, job_results
from safelight.server.api.native.common import JobId, RequestedJob
from safelight.server.api.native.openapi_responses import error_responses, example_response, multipart_body
from safelight.server.api.native.schemas.jobs import DerivedJob, JobBody, JobOptions, JobPage
from safelight.server.api.openapi_examples import JOB, JOBS, SUBMISSIONS
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.request_bodies.multipart import FormRoute
from safelight.server.core.request_bodies.payload_decoding import image_inputs_of
from safelight.server.core.submission import send_signal, submit
from safelight.server.security.allowlist import with_allowed_names
from safelight.server.security.dependencies import CurrentPrincipal, Principal, Role
from safelight.settings import Settings

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
    given = await _decode_fields(body, app_state, principal)
    fields = await asyncio.to_thread(_check_names, body.kind, given, app_state.service.settings)
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


def _check_names(kind: str, given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Check what the checkpoint's family and lists of names tell, so that nobody has to wait for a worker's refusal.

    Returns:
        The fields with canonical names.

    Raises:
        CheckpointMissingError, UpscalerUnknownError, SamplerUnknownError, StyleUnknownError: There is no such name.
        NotMultipleError: Width or height does not fit the checkpoint's family.
    """
    fields = with_allowed_names(given, settings)
    if kind != JobKind.GENERATE:
        return fields
    if styles := fields.get("styles"):
        select_styles(styles, load_styles(settings.home / "styles"))
    check_sampler_names(fields.get("sampler"), fields.get("schedule"))
    if fields.get("width") or fields.get("height"):
        family = select_checkpoint(fields.get("checkpoint"), settings).family
        if family is not None:
            check_sides(fields.get("width"), fields.get("height"), family)
    return fields


async def _decode_fields(body: JobOptions, app_state: AppState, principal: Principal) -> dict[str, Any]:
    """The fields that were given, as ``submission.submit`` takes them.

    Args:
        body: The body, with images as text or bytes.
        app_state: The application's state.
        principal: Who submits it, and whose gallery it may name pictures of.

    Raises:
        ImageError, RequestError: An image is invalid or too large.
        EntryMissingError, BlockedError, EntryFileMissingError: A picture of the gallery has no file.
    """
    fields = body.model_dump(exclude_unset=True, exclude=OWN_FIELDS)
    inputs, model = image_inputs_of(app_state, principal), type(body)
    images = {}
    for found in find_images(model, fields):
        try:
            images[found.path] = await inputs.read(found.value)
        except SafelightError as error:
            error.field = error.field or found.name
            raise
    return replace_images(model, fields, lambda found: images[found.path])


router.include_router(job_events.router)
router.include_router(job_results.router)
