from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.generation.conftest import GenerateImages
from tests.generation.modifiers.calls import denoiser_call, doubled
from tests.tiny.distinct import DISTINCT
from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory
from safelight.models.families import FAMILIES, TEXT
from safelight.plugins import PLUGINS, Registry, hookimpl

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


def test_a_row_may_be_a_list_of_pictures_that_ends_with_the_one_that_is_generated() -> None:
    seen, rows = torch.zeros(4, 1, 8, 8), doubled()
    call = denoiser_call(doubled()).add(
        sample=[[seen, row] for row in rows], words=[[row[0], row[1]] for row in rows], features=[None, None]
    )
    assert torch.equal(call.latents, rows)
    taken = call.take([1, 1, 0])
    assert torch.equal(taken.latents, rows[[1, 1, 0]])
    words, features = taken.arguments["words"], taken.arguments["features"]
    assert isinstance(words, list)
    assert [torch.equal(row[1], rows[number, 1]) for row, number in zip(words, (1, 1, 0), strict=True)] == [
        True
    ] * 3
    assert features == [None] * 3


def test_only_the_negative_prompt_and_then_the_prompt_are_a_pair() -> None:
    values = doubled()
    assert denoiser_call(values).is_pair
    assert not denoiser_call(values, roles=(POSITIVE, NEGATIVE)).is_pair
    assert not denoiser_call(values, roles=(POSITIVE, POSITIVE)).is_pair
    assert not denoiser_call(values).take([1]).is_pair


def test_the_fraction_counts_steps() -> None:
    assert [denoiser_call(doubled(), step, 4).fraction for step in range(4)] == [0, 0.25, 0.5, 0.75]


class Witness(Modifier):
    """A plug-in with a modifier that records the rows of a run's first step."""

    def __init__(self) -> None:
        self.rows: list[tuple[Role, list[Tensor]]] = []

    @hookimpl
    def register_modifiers(self, registry: Registry[ModifierFactory]) -> None:
        registry.register("witness", ModifierFactory(Layer.CONDITIONING, lambda _: self))

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        if call.step == 0:
            for row, role in enumerate(call.roles):
                self.rows.append((role, tensors(dict(call.take([row]).arguments))))
        return compute(call)


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for each in inner for tensor in tensors(each)]


def rows_with(negative_prompt: str, name: str, draw: GenerateImages) -> list[tuple[Role, list[Tensor]]]:
    witness = Witness()
    with PLUGINS.registered(witness, "witness"):
        draw(name, steps=2, guidance_scale=3, negative_prompt=negative_prompt)
    return witness.rows


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in DISTINCT
        if name in FAMILIES
        and TEXT in FAMILIES[name].modes
        and FAMILIES[name].guidance in ("cfg-batched", "cfg-separate")
        and FAMILIES[name].supports_negative
    ],
)
def test_the_negative_prompt_affects_the_rows_of_that_role_only(name: str, draw: GenerateImages) -> None:
    """Which is which in every family, whatever the order in its pipeline."""
    first, second = (rows_with(text, name, draw) for text in ("blue", "green dog"))
    assert {role for role, _ in first} == {NEGATIVE, POSITIVE}
    for (role, one), (other_role, other) in zip(first, second, strict=True):
        same = all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a.shape == b.shape)
        same &= [tensor.shape for tensor in one] == [tensor.shape for tensor in other]
        assert role is other_role
        assert same == (role is POSITIVE)
