"""What came of a job: as JSON, or one of its pictures in the format that the caller likes."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from safelight.errors import (
    BlockedError,
    JobMissingError,
    JobUnfinishedError,
    NoResultError,
    NotAcceptableError,
    error_of,
)
from safelight.jobs.job import Job
from safelight.jobs.result import DrawnPicture, JobResult
from safelight.server.auth import Who
from safelight.server.formats import JSON, PICTURES, QUALITY, in_format, negotiated
from safelight.server.picture_cost import converting
from safelight.server.routes.common import (
    TheJob,
    picture_response,
    same_as_before,
    unchanged,
)
from safelight.server.routes.describing import errors, pictures
from safelight.server.routes.examples import RESULT
from safelight.server.state import Behind

router = APIRouter()


@router.get(
    "/{job_id}/result",
    response_model=JobResult,
    operation_id="job_result",
    summary="Get a job's result",
    responses=errors(BlockedError, JobMissingError, JobUnfinishedError, NoResultError, NotAcceptableError)
    | pictures("png", "webp", "jpeg", or_else=RESULT),
)
async def job_result(
    job: TheJob,
    behind: Behind,
    who: Who,
    request: Request,
    response: Response,
    picture: Annotated[
        int, Query(ge=0, le=1000, description="Which picture, where the caller accepts pictures.")
    ] = 0,
    quality: Annotated[int, Query(ge=1, le=100, description="Of JPEG and WebP.")] = QUALITY,
    accept: Annotated[str | None, Header(description="application/json, or a picture's type.")] = None,
) -> JobResult | Response:
    """Pictures or verdicts as JSON; with ``Accept: image/png``, webp or jpeg the bytes of one picture.

    A job that failed answers with its error, and one that was cancelled with what it had.
    """
    response.headers["Vary"] = "Accept"
    kind = negotiated(accept)
    result = await asyncio.to_thread(result_of, job)
    if kind == JSON:
        return result
    chosen, form = _chosen(result, picture), PICTURES[kind]
    tag = f'"{chosen.sha256}-{form}-{quality}"'
    if chosen.sha256 is not None and same_as_before(request, tag):
        return unchanged(tag)

    data, limits = (
        await asyncio.to_thread(behind.service.gallery.read, chosen.id, who.scope),
        behind.studio.limits,
    )
    cost = await behind.threads.picture(converting, data, form, limits)
    made = await behind.threads.pixels(cost, in_format, data, form, limits, quality=quality)
    return picture_response(made, form, tag, chosen.id)


def result_of(job: Job) -> JobResult:
    """What came of a job.

    Raises:
        JobUnfinishedError: Nothing yet.
        NoResultError: Nothing, since it was cancelled before.
        SafelightError: What it failed with.
    """
    if not job.state.final:
        raise JobUnfinishedError(f"The job {job.id} is {job.state} yet.")
    if job.error is not None:
        raise error_of(job.error.code, job.error.message, job.error.hint)
    if job.result is None:
        raise NoResultError(f"The job {job.id} was cancelled before there was a result.")
    return JobResult.read(job.result)


def _chosen(result: JobResult, index: int) -> DrawnPicture:
    for picture in result.pictures:
        if picture.index == index:
            return picture
    raise NoResultError(f"The job has no picture {index}.")
