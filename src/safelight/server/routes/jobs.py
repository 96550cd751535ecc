"""``/v1/jobs``: submit, list, read and stop jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response

from safelight.errors import (
    BodyTooLargeError,
    CheckpointMissingError,
    IdempotencyError,
    ImageFormatError,
    JobMissingError,
    JobOverError,
    JobSkipError,
    MediaTypeError,
    PriorityError,
    QueueFullError,
    UpscalerUnknownError,
)
from safelight.jobs.job import Job, JobKind, JobState, Signal
from safelight.server.auth import Role, Who
from safelight.server.bodies import FormRoute
from safelight.server.fields import fields_of
from safelight.server.names import with_known_names
from safelight.server.routes import following, results
from safelight.server.routes.common import JobId, TheJob
from safelight.server.routes.describing import errors, form, shown
from safelight.server.routes.examples import JOB, JOBS, SUBMISSIONS
from safelight.server.schemas.jobs import JobBody, JobPage
from safelight.server.state import Behind
from safelight.server.submitting import submit, tell

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=FormRoute)
STOPPED = errors(JobMissingError, JobOverError) | shown(JOB, 202)

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
    responses=errors(
        BodyTooLargeError,
        CheckpointMissingError,
        IdempotencyError,
        ImageFormatError,
        MediaTypeError,
        PriorityError,
        QueueFullError,
        UpscalerUnknownError,
    )
    | shown(JOB, 202, headers={"Location": {"description": "The job.", "schema": {"type": "string"}}}),
    openapi_extra={"requestBody": {"content": form("init_image", "mask", "image", "images")}},
)
async def submit_job(
    body: Annotated[JobBody, Body(openapi_examples=dict(SUBMISSIONS))],
    response: Response,
    behind: Behind,
    who: Who,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Queue a generation, an upscaling or a scan, and return at once.

    In multipart/form-data each picture is a part of its own, and all other fields are JSON in the part ``request``.
    A job continues when the client that submitted it disconnects; its result is kept until it expires.
    """
    if body.priority > 0 and who.role is not Role.ADMIN:
        raise PriorityError
    given = await fields_of(body, behind)
    fields = await asyncio.to_thread(with_known_names, given, behind.service.settings)
    job = await submit(
        behind,
        who,
        JobKind(body.kind),
        fields,
        priority=body.priority,
        timeout=body.timeout,
        idempotency_key=idempotency_key,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("", operation_id="list_jobs", summary="List jobs", responses=errors() | shown(JOBS))
async def list_jobs(
    behind: Behind,
    who: Who,
    state: Annotated[list[JobState], Query(description="Only those in one of these states.")] = [],  # noqa: B006
    kind: Annotated[JobKind | None, Query(description="Only those of a kind.")] = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobPage:
    """The user's jobs, newest first; administrators see those of all users. Only a single job includes its result."""
    found = await asyncio.to_thread(
        behind.service.ledger.find, who.scope, states=state, kind=kind, before=before, limit=limit + 1
    )
    shown = found[:limit]
    return JobPage(jobs=shown, next=shown[-1].id if len(found) > limit else None)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    responses=errors(JobMissingError) | shown(JOB),
)
async def get_job(job: TheJob) -> Job:
    """A job's place in the queue, estimated time, progress and result."""
    return job


@router.delete(
    "/{job_id}",
    status_code=202,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=STOPPED,
)
async def cancel_job(job_id: JobId, behind: Behind, who: Who) -> Job:
    """Cancel a job: a queued one at once, a running one at its next step. Finished pictures are kept."""
    return await tell(behind, job_id, Signal.CANCEL, who.scope)


@router.post(
    "/{job_id}/finish",
    status_code=202,
    operation_id="finish_job",
    summary="Finish a job early",
    responses=STOPPED,
)
async def finish_job(job_id: JobId, behind: Behind, who: Who) -> Job:
    """Keep the picture in progress as it is, skip the rest, and succeed. A queued job is cancelled."""
    return await tell(behind, job_id, Signal.FINISH, who.scope)


@router.post(
    "/{job_id}/skip",
    status_code=202,
    operation_id="skip_picture",
    summary="Skip a picture",
    responses=errors(JobMissingError, JobOverError, JobSkipError) | shown(JOB, 202),
)
async def skip_picture(job_id: JobId, behind: Behind, who: Who) -> Job:
    """Discard the picture in progress and continue with the next. A queued job is cancelled."""
    return await tell(behind, job_id, Signal.SKIP, who.scope)


router.include_router(following.router)
router.include_router(results.router)
