"""``/v1/moderations`` as OpenAI's clients call it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter

from safelight.moderation.texts import Blocklist
from safelight.moderation.verdict import Verdict
from safelight.server.auth import Caller, Who
from safelight.server.bodies import JsonRoute
from safelight.server.compat.openai_moderation import (
    Asked,
    ModerationAnswer,
    ModerationBody,
    answer,
    asked,
    check,
)
from safelight.server.compat.previews import TheJudge
from safelight.server.fields import intake_of
from safelight.server.judging import Judge
from safelight.server.routes.moderation import charged
from safelight.server.state import Backstage, Behind
from safelight.settings import Settings

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)


@router.post("/moderations", operation_id="openai_moderate", summary="Judge pictures and texts")
async def moderations(body: ModerationBody, behind: Behind, who: Who, judging: TheJudge) -> ModerationAnswer:
    """Judge pictures by the server's classifier and policy, and texts by its list of words, where it has one.

    Of OpenAI's categories only ``sexual`` is judged; ``category_applied_input_types`` says so of each.
    """
    settings = behind.service.settings
    request = asked(body)
    await judging.check(body.classifier)
    words = await asyncio.to_thread(_words, settings) if request.texts else None
    check(request, words)
    verdicts = await _verdicts(request, body.classifier, behind, who, judging) if request.pictures else []
    skip = settings.moderation_texts == "skip"
    return await asyncio.to_thread(answer, request, verdicts, words, skip=skip)


def _words(settings: Settings) -> Blocklist | None:
    return Blocklist.read(Path(settings.text_blocklist)) if settings.text_blocklist else None


async def _verdicts(
    request: Asked, classifier: str | None, behind: Backstage, who: Caller, judging: Judge
) -> list[Verdict]:
    """Of the pictures; where one cannot be read, none is counted."""
    async with charged(behind, who, len(request.pictures)):
        intake = intake_of(behind)
        pictures = [await intake.picture(address) for address in request.pictures]
        verdicts: list[Verdict] = []
        for judgement in await judging.judge(pictures, classifier=classifier):
            if judgement.verdict is None:
                assert judgement.error is not None
                raise judgement.error
            verdicts.append(judgement.verdict)
        return verdicts
