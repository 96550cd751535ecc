"""Previews of running jobs; the policy applies to them as to finished images."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.file_formats import FileFormat
from safelight.moderation.policy import Decision
from safelight.server.formats import in_format
from safelight.server.judging import Judge
from safelight.server.picture_cost import converting
from safelight.server.state import Backstage


def judge(connection: HTTPConnection) -> Judge:
    """The moderation service of the server that handles a request."""
    found: Judge = connection.state.judge
    return found


TheJudge = Annotated[Judge, Depends(judge)]


async def preview_of(
    behind: Backstage, judging: Judge, job_id: str, kind: FileFormat = "png"
) -> bytes | None:
    """A job's newest preview in a file format; None where there is none that may be shown."""
    data = await asyncio.to_thread(behind.service.ledger.preview, job_id)
    if data is None:
        return None
    judgement = await judging.judge_once(data)
    if judgement.decision == Decision.BLOCK or judgement.verdict is None:
        return None
    limits = behind.studio.limits
    cost = await behind.threads.picture(converting, data, kind, limits)
    return await behind.threads.pixels(cost, in_format, data, kind, limits)
