"""The result of a job: as JSON, or one of its images in the negotiated format."""

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
        int, Query(ge=0, le=1000, description="Index of the picture, where the client accepts pictures.")
    ] = 0,
    quality: Annotated[int, Query(ge=1, le=100, description="Quality of JPEG and WebP.")] = QUALITY,
    accept: Annotated[str | None, Header(description="application/json, or a picture's type.")] = None,
) -> JobResult | Response:
    """Pictures or verdicts as JSON; with ``Accept: image/png``, webp or jpeg the bytes of one picture.

    A failed job is answered with its error, and a cancelled one with the pictures it had finished.
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
    """The result of a job.

    Raises:
        JobUnfinishedError: The job has not ended.
        NoResultError: The job was cancelled before it had a result.
        SafelightError: The error the job failed with.
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
