"""Previews of running jobs; the policy applies to them as to finished images."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from safelight.file_formats import FileFormat
from safelight.moderation.policy import Decision
from safelight.server.core.app_state import AppState
from safelight.server.core.content_negotiation import convert_image
from safelight.server.core.executors.image_cost import convert_cost
from safelight.server.core.moderation_service import ModerationService


def moderation_service(connection: HTTPConnection) -> ModerationService:
    """The moderation service of the server that handles a request."""
    found: ModerationService = connection.state.moderation_service
    return found


CurrentModerationService = Annotated[ModerationService, Depends(moderation_service)]


async def load_preview(
    app_state: AppState, moderation: ModerationService, job_id: str, kind: FileFormat = "png"
) -> bytes | None:
    """A job's newest preview in a file format; None where there is none that may be shown."""
    data = await asyncio.to_thread(app_state.service.store.preview, job_id)
    if data is None:
        return None
    judgement = await moderation.judge_cached(data)
    if judgement.decision == Decision.BLOCK or judgement.verdict is None:
        return None
    limits = app_state.studio.limits
    cost = await app_state.threads.run_inspect(convert_cost, data, kind, limits)
    return await app_state.threads.run_image(cost, convert_image, data, kind, limits)
