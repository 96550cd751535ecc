from __future__ import annotations

import pytest
import torch
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.modifiers.calls import Recorder, denoiser_call

from safelight.generation.conditioning import EncoderCall
from safelight.generation.modifiers.denoiser_call import Role
from safelight.generation.modifiers.prompt_schedule import PromptSchedule
from safelight.generation.plan import ExpandedPrompts
from safelight.generation.prompts.encode import Conditioning, ConditioningPhase


def conditioning(value: float) -> Conditioning:
    return Conditioning(torch.full((1, 3, 2), value), torch.full((1, 2), value))


PHASES = [
    ConditioningPhase(0, conditioning(1), conditioning(-1)),
    ConditioningPhase(2, conditioning(2), conditioning(-2)),
]
NEGATIVE, POSITIVE = Role.NEGATIVE, Role.POSITIVE


@pytest.mark.parametrize(
    ("roles", "rows"),
    [
        ((NEGATIVE, POSITIVE), [-2, 2]),
        ((NEGATIVE, POSITIVE, POSITIVE), [-2, 2, 2]),
        ((POSITIVE, POSITIVE), [2, 2]),
        ((POSITIVE,), [2]),
    ],
)
def test_every_row_gets_the_embeddings_of_its_step(roles: tuple[Role, ...], rows: list[int]) -> None:
    recorder, schedule, batch = Recorder(), PromptSchedule(), len(roles)
    assert schedule.encode(EncoderCall(ExpandedPrompts("", ""), 4), lambda _call: PHASES) is PHASES
    call = denoiser_call(
        torch.zeros(batch, 4, 2, 2),
        3,
        roles=roles,
        encoder_hidden_states=torch.zeros(batch, 3, 2),
        added_cond_kwargs={"text_embeds": torch.zeros(batch, 2), "time_ids": 5},
    )
    schedule.predict(call, recorder)
    (made,) = recorder.calls
    embeddings, added = made.arguments["encoder_hidden_states"], made.arguments["added_cond_kwargs"]
    assert isinstance(embeddings, torch.Tensor)
    assert isinstance(added, dict)
    assert embeddings[:, 0, 0].tolist() == rows
    assert added["text_embeds"][:, 0].tolist() == rows
    assert added["time_ids"] == 5


def test_a_schedule_changes_the_picture_from_its_step_on(draw: GenerateImages) -> None:
    scheduled, first, second = (
        to_array(*draw(prompt=prompt, steps=4))
        for prompt in ("a [red:blue:2] cat", "a red cat", "a blue cat")
    )
    assert (scheduled != first).any()
    assert (scheduled != second).any()
    (never,) = draw(prompt="a [red:blue:4] cat", steps=4)
    assert (to_array(never) == first).all()
