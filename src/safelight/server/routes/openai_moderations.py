"""``/v1/moderations`` as OpenAI's clients call it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from safelight.moderation.verdict import Verdict
from safelight.server.auth import Who
from safelight.server.compat.openai_moderation import ModerationAnswer, ModerationBody, addresses, answer
from safelight.server.compat.previews import TheJudge
from safelight.server.fields import taken_in
from safelight.server.routes.moderation import charge
from safelight.server.state import Behind

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/moderations", operation_id="openai_moderate", summary="Judge pictures")
async def moderations(body: ModerationBody, behind: Behind, who: Who, judging: TheJudge) -> ModerationAnswer:
    """Judge pictures by the server's classifier and policy. Texts are refused: nothing here could judge them.

    Of OpenAI's categories only ``sexual`` is judged; ``category_applied_input_types`` says so of each.
    """
    pictures = [await taken_in(address, behind) for address in addresses(body)]
    await asyncio.to_thread(charge, behind, who, pictures)
    verdicts: list[Verdict] = []
    for judgement in await judging.judge(pictures, classifier=body.model):
        if judgement.verdict is None:
            assert judgement.error is not None
            raise judgement.error
        verdicts.append(judgement.verdict)
    return answer(verdicts)
