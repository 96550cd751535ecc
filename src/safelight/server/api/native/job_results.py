"""The result of a job: as JSON, or one of its images in the negotiated format."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from safelight.errors import (
    BlockedError,
    JobMissingError,
    JobUnfinishedError,
    NotAcceptableError,
    ResultMissingError,
    error_of,
)
from safelight.jobs.job import Job
from safelight.jobs.result import GeneratedImage, JobResult
from safelight.server.api.native.common import RequestedJob, image_response, not_modified
from safelight.server.api.native.openapi_responses import error_responses, image_responses
from safelight.server.api.openapi_examples import RESULT
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.content_negotiation import (
    DEFAULT_QUALITY,
    IMAGE_TYPES,
    JSON,
    convert_image,
    negotiate,
)
from safelight.server.core.etags import etag_matches
from safelight.server.core.executors.image_cost import convert_cost
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter()


@router.get(
    "/{job_id}/result",
    response_model=JobResult,
    operation_id="job_result",
    summary="Get a job's result",
    responses=error_responses(
        BlockedError, JobMissingError, JobUnfinishedError, ResultMissingError, NotAcceptableError
    )
    | image_responses("png", "webp", "jpeg", json_example=RESULT),
)
async def job_result(
    job: RequestedJob,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    request: Request,
    response: Response,
    picture: Annotated[
        int, Query(ge=0, le=1000, description="Index of the picture, where the client accepts pictures.")
    ] = 0,
    quality: Annotated[int, Query(ge=1, le=100, description="Quality of JPEG and WebP.")] = DEFAULT_QUALITY,
    accept: Annotated[str | None, Header(description="application/json, or a picture's type.")] = None,
) -> JobResult | Response:
    """Pictures or verdicts as JSON; with ``Accept: image/png``, webp or jpeg the bytes of one picture.

    A failed job is answered with its error, and a cancelled one with the pictures it had finished.
    """
    response.headers["Vary"] = "Accept"
    kind = negotiate(accept)
    result = await asyncio.to_thread(result_of, job)
    if kind == JSON:
        return result
    chosen, form = _find_picture(result, picture), IMAGE_TYPES[kind]
    tag = f'"{chosen.sha256}-{form}-{quality}"'
    if chosen.sha256 is not None and etag_matches(request, tag):
        return not_modified(tag)

    data, limits = (
        await asyncio.to_thread(app_state.service.gallery.read, chosen.id, principal.scope),
        app_state.studio.limits,
    )
    cost = await app_state.threads.run_inspect(convert_cost, data, form, limits)
    made = await app_state.threads.run_image(cost, convert_image, data, form, limits, quality=quality)
    return image_response(made, form, tag, chosen.id)


def result_of(job: Job) -> JobResult:
    """The result of a job.

    Raises:
        JobUnfinishedError: The job has not ended.
        ResultMissingError: The job was cancelled before it had a result.
        SafelightError: The error the job failed with.
    """
    if not job.state.final:
        raise JobUnfinishedError(f"The job {job.id} is {job.state} yet.")
    if job.error is not None:
        raise error_of(job.error.code, job.error.message, job.error.hint)
    if job.result is None:
        raise ResultMissingError(f"The job {job.id} was cancelled before there was a result.")
    return JobResult.parse(job.result)


def _find_picture(result: JobResult, index: int) -> GeneratedImage:
    for picture in result.pictures:
        if picture.index == index:
            return picture
    raise ResultMissingError(f"The job has no picture {index}.")
