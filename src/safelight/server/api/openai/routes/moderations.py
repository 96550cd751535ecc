"""``/v1/moderations`` as OpenAI's clients call it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter

from safelight.moderation.verdict import Verdict
from safelight.server.api.charging import charge_images
from safelight.server.api.openai.blocklist_cache import CurrentBlocklistCache, lifespan
from safelight.server.api.openai.moderation import (
    ModerationBody,
    ModerationInputs,
    ModerationResponse,
    check_inputs,
    moderation_inputs,
    moderation_response,
)
from safelight.server.core.app_state import AppState, CurrentAppState
from safelight.server.core.events.previews import CurrentModerationService
from safelight.server.core.moderation_service import ModerationService
from safelight.server.core.request_bodies.multipart import JsonRoute
from safelight.server.core.request_bodies.payload_decoding import image_inputs
from safelight.server.middleware.disconnects import CANCEL_ON_DISCONNECT
from safelight.server.security.dependencies import CurrentPrincipal

router = APIRouter(prefix="/v1", tags=["OpenAI"], lifespan=lifespan, route_class=JsonRoute)


@router.post(
    "/moderations",
    operation_id="openai_moderate",
    summary="Judge pictures and texts",
    dependencies=CANCEL_ON_DISCONNECT,
)
async def moderations(
    body: ModerationBody,
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    moderation_service: CurrentModerationService,
    blocklists: CurrentBlocklistCache,
) -> ModerationResponse:
    """Judge pictures with the server's classifier and policy, and texts with its blocklist, where it has one.

    Of OpenAI's categories only ``sexual`` is judged, as ``category_applied_input_types`` says. A judged text counts as
    one picture.
    """
    settings = app_state.service.settings
    request = moderation_inputs(body)
    await moderation_service.check_classifier(body.classifier)
    words = None
    if request.texts and settings.text_blocklist:
        words = await asyncio.to_thread(blocklists.get, Path(settings.text_blocklist))
    check_inputs(request, words)
    skip = settings.moderation_texts == "skip"
    async with charge_images(
        app_state, principal, len(request.images) + (len(request.texts) if words else 0)
    ):
        verdicts = (
            await _judge_images(request, body.classifier, app_state, moderation_service)
            if request.images
            else []
        )
        return await asyncio.to_thread(moderation_response, request, verdicts, words, skip_texts=skip)


async def _judge_images(
    inputs: ModerationInputs,
    classifier: str | None,
    app_state: AppState,
    moderation_service: ModerationService,
) -> list[Verdict]:
    """The verdicts of the pictures, all of which must be readable."""
    intake = image_inputs(app_state)
    pictures = [await intake.read(address) for address in inputs.images]
    verdicts: list[Verdict] = []
    for judgement in await moderation_service.judge(pictures, classifier=classifier):
        if judgement.verdict is None:
            assert judgement.error is not None
            raise judgement.error
        verdicts.append(judgement.verdict)
    return verdicts
