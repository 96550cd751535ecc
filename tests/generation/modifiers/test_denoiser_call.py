from __future__ import annotations

import torch
from tests.generation.modifiers.calls import denoiser_call, doubled

from safelight.generation.modifiers.denoiser_call import Role

NEGATIVE, POSITIVE = Role.NEGATIVE, Role.POSITIVE


def test_taking_rows_takes_those_of_every_argument() -> None:
    values = doubled()
    blocks = (doubled(1), doubled(2, channels=8))
    call = denoiser_call(values, residuals=blocks, texts=[values[0, 0], values[1, :2]], scale=0.5)
    taken = call.take([0, 1, 1])
    assert taken.roles == (NEGATIVE, POSITIVE, POSITIVE)
    assert torch.equal(taken.latents, values[[0, 1, 1]])
    assert taken.timestep.ndim == 0
    residuals, texts = taken.arguments["residuals"], taken.arguments["texts"]
    assert isinstance(residuals, tuple)
    assert isinstance(texts, list)
    assert [torch.equal(part, whole[[0, 1, 1]]) for part, whole in zip(residuals, blocks, strict=True)] == [
        True,
        True,
    ]
    assert [len(text) for text in texts] == [len(values[0, 0]), 2, 2]
    assert taken.arguments["scale"] == 0.5
    assert call.roles == (NEGATIVE, POSITIVE)  # unchanged


def test_rows_may_be_a_list() -> None:
    rows = list(doubled())
    call = denoiser_call(doubled()).add(sample=rows)
    assert torch.equal(call.latents, doubled())
    assert torch.equal(call.take(slice(1, None)).latents, doubled()[1:])


def test_only_the_negative_prompt_and_then_the_prompt_are_a_pair() -> None:
    values = doubled()
    assert denoiser_call(values).is_pair
    assert not denoiser_call(values, roles=(POSITIVE, NEGATIVE)).is_pair
    assert not denoiser_call(values, roles=(POSITIVE, POSITIVE)).is_pair
    assert not denoiser_call(values).take([1]).is_pair


def test_the_fraction_counts_steps() -> None:
    assert [denoiser_call(doubled(), step, 4).fraction for step in range(4)] == [0, 0.25, 0.5, 0.75]
