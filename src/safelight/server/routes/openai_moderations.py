"""``/v1/moderations`` as OpenAI's clients call it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter

from safelight.moderation.verdict import Verdict
from safelight.server.auth import Who
from safelight.server.bodies import JsonRoute
from safelight.server.compat.charging import charge_images
from safelight.server.compat.openai_moderation import (
    Asked,
    ModerationAnswer,
    ModerationBody,
    answer,
    asked,
    check,
)
from safelight.server.compat.previews import TheJudge
from safelight.server.compat.word_lists import TheWordLists, lifespan
from safelight.server.fields import intake_of
from safelight.server.judging import Judge
from safelight.server.middleware.disconnects import ENDS_WITH_CALLER
from safelight.server.state import Backstage, Behind

router = APIRouter(prefix="/v1", tags=["OpenAI"], lifespan=lifespan, route_class=JsonRoute)


@router.post(
    "/moderations",
    operation_id="openai_moderate",
    summary="Judge pictures and texts",
    dependencies=ENDS_WITH_CALLER,
)
async def moderations(
    body: ModerationBody, behind: Behind, who: Who, judging: TheJudge, lists: TheWordLists
) -> ModerationAnswer:
    """Judge pictures with the server's classifier and policy, and texts with its blocklist, where it has one.

    Of OpenAI's categories only ``sexual`` is judged, as ``category_applied_input_types`` says. A judged text counts as
    one picture.
    """
    settings = behind.service.settings
    request = asked(body)
    await judging.check(body.classifier)
    words = None
    if request.texts and settings.text_blocklist:
        words = await asyncio.to_thread(lists.get, Path(settings.text_blocklist))
    check(request, words)
    skip = settings.moderation_texts == "skip"
    async with charge_images(behind, who, len(request.pictures) + (len(request.texts) if words else 0)):
        verdicts = await _verdicts(request, body.classifier, behind, judging) if request.pictures else []
        return await asyncio.to_thread(answer, request, verdicts, words, skip=skip)


async def _verdicts(
    request: Asked, classifier: str | None, behind: Backstage, judging: Judge
) -> list[Verdict]:
    """The verdicts of the pictures, all of which must be readable."""
    intake = intake_of(behind)
    pictures = [await intake.picture(address) for address in request.pictures]
    verdicts: list[Verdict] = []
    for judgement in await judging.judge(pictures, classifier=classifier):
        if judgement.verdict is None:
            assert judgement.error is not None
            raise judgement.error
        verdicts.append(judgement.verdict)
    return verdicts
