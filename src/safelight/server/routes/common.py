"""Helpers of our own routes: the job that a path names, and images as responses."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Path, Request, Response

from safelight.file_formats import SUFFIXES, FileFormat
from safelight.jobs.job import Job
from safelight.server.auth import Who
from safelight.server.formats import media_type
from safelight.server.state import Behind

FOREVER = "private, max-age=31536000, immutable"
"""A picture of an id never changes, and is its owner's matter."""

JobId = Annotated[str, Path(pattern="^[0-9a-f]{27}$", description="A job's id.")]
EntryId = Annotated[str, Path(pattern="^[0-9a-z]{22}$", description="An entry's id.")]


async def visible_job(job_id: JobId, behind: Behind, who: Who) -> Job:
    """The job that a path names, where the principal may see it."""
    return await asyncio.to_thread(behind.service.ledger.get, job_id, who.scope)


TheJob = Annotated[Job, Depends(visible_job)]


def same_as_before(request: Request, tag: str) -> bool:
    """Whether the client's If-None-Match holds this ETag."""
    held = request.headers.get("if-none-match", "")
    return held.strip() == "*" or tag in [part.strip().removeprefix("W/") for part in held.split(",")]


def unchanged(tag: str) -> Response:
    """A 304 Not Modified response."""
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": FOREVER, "Vary": "Accept"})


def picture_response(data: bytes, kind: FileFormat, tag: str, name: str) -> Response:
    """An image file as an immutable response."""
    headers = {
        "ETag": tag,
        "Cache-Control": FOREVER,
        "Vary": "Accept",
        "Content-Disposition": f'inline; filename="{name}{SUFFIXES[kind]}"',
    }
    return Response(data, media_type=media_type(kind), headers=headers)
