from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.diffusers_reference import generate_with_diffusers
from tests.generation.modifiers.calls import answers, denoiser_call, doubled
from torch import Tensor

from safelight.generation.modifiers.denoiser_call import Role
from safelight.generation.modifiers.guidance_rescale import GuidanceRescale

Tiny = Callable[[str], Path]
SIZE = {"width": 64, "height": 64}


def guided_with(rescale: float, values: Tensor, scale: float = 4.0) -> Tensor:
    """The guided prediction, (1, ...), for latents of four channels."""
    both = GuidanceRescale(scale, rescale).predict(denoiser_call(doubled()), answers(values))
    assert torch.equal(both[:1], both[1:])  # so the pipeline's own guidance changes nothing
    return both[:1]


def test_guidance_is_the_scaled_difference() -> None:
    values = doubled()
    assert torch.equal(guided_with(0.0, values), values[:1] + 4.0 * (values[1:] - values[:1]))


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescaling_follows_the_paper(rescale: float) -> None:
    values = doubled()
    guided, ours = guided_with(0.0, values), guided_with(rescale, values)
    assert torch.allclose(ours, rescale_noise_cfg(guided, values[1:], rescale), atol=1e-6)
    if rescale == 1:
        assert float(ours.std()) == pytest.approx(float(values[1:].std()), rel=1e-5)


def test_a_learned_variance_does_not_affect_rescaling() -> None:
    values, loud = doubled(channels=8), doubled(channels=8)
    loud[:, 4:] *= 100
    one, other = (guided_with(0.7, each) for each in (values, loud))
    assert torch.equal(one[:, :4], other[:, :4])


def test_a_constant_prediction_stays_finite() -> None:
    assert not guided_with(0.7, torch.zeros(2, 4, 8, 8)).any()


def test_without_a_negative_prompt_nothing_is_rescaled() -> None:
    values = doubled()[:1]
    call = denoiser_call(values, roles=(Role.POSITIVE,))
    assert GuidanceRescale(4.0, 0.7).predict(call, answers(values)) is values


def test_rescaling_equals_diffusers(draw: GenerateImages, tiny: Tiny) -> None:
    (drawn,) = draw(guidance_rescale=0.7, guidance_scale=9)
    expected = generate_with_diffusers(
        tiny("sd1"), "StableDiffusionPipeline", guidance_rescale=0.7, guidance_scale=9.0, **SIZE
    )
    assert np.abs(to_array(drawn).astype(int) - expected).max() <= 1
    assert not np.array_equal(to_array(drawn), to_array(*draw(guidance_scale=9)))
