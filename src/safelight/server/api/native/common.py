"""Helpers of our own routes: the job that a path names, and images as responses."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Path, Response

from safelight.file_formats import SUFFIXES, FileFormat
from safelight.jobs.job import Job
from safelight.server.core.app_state import CurrentAppState
from safelight.server.core.content_negotiation import media_type
from safelight.server.security.dependencies import CurrentPrincipal

IMMUTABLE_CACHE = "private, max-age=31536000, immutable"
"""A picture of an id never changes, and is its owner's matter."""

JobId = Annotated[str, Path(pattern="^[0-9a-f]{27}$", description="A job's id.")]
EntryId = Annotated[str, Path(pattern="^[0-9a-z]{22}$", description="An entry's id.")]


async def visible_job(job_id: JobId, app_state: CurrentAppState, principal: CurrentPrincipal) -> Job:
    """The job that a path names, where the principal may see it."""
    return await asyncio.to_thread(app_state.service.store.get, job_id, principal.scope)


RequestedJob = Annotated[Job, Depends(visible_job)]


def not_modified(tag: str) -> Response:
    """A 304 Not Modified response."""
    return Response(
        status_code=304, headers={"ETag": tag, "Cache-Control": IMMUTABLE_CACHE, "Vary": "Accept"}
    )


def image_response(data: bytes, file_format: FileFormat, tag: str, name: str) -> Response:
    """An image file as an immutable response."""
    headers = {
        "ETag": tag,
        "Cache-Control": IMMUTABLE_CACHE,
        "Vary": "Accept",
        "Content-Disposition": f'inline; filename="{name}{SUFFIXES[file_format]}"',
    }
    return Response(data, media_type=media_type(file_format), headers=headers)
