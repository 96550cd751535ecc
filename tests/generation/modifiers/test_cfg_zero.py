from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tests.generation.conftest import GenerateImages, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline
from tests.generation.modifiers.calls import answers, denoiser_call, doubled

from safelight.generation.modifiers.cfg_zero import CFGZero

Tiny = Callable[[str], Path]


def test_cfg_zero_projects_the_negative_prediction_and_leaves_out_the_first_step() -> None:
    values, latents = doubled(), doubled(1)
    assert not CFGZero().predict(denoiser_call(latents, 0), answers(values)).any()
    negative, positive = values[0].double().flatten(), values[1].double().flatten()
    share = torch.dot(positive, negative) / torch.dot(negative, negative)
    expected = share * negative + 4.0 * (positive - share * negative)
    pair = CFGZero().predict(denoiser_call(latents, 1), answers(values)).double()
    found = pair[0] + 4.0 * (pair[1] - pair[0])
    assert torch.allclose(found.flatten(), expected, atol=1e-5)
    half = CFGZero().predict(denoiser_call(latents, 1), answers(values.half() * 200))
    assert torch.isfinite(half).all()  # the sums are larger than half precision can hold


def test_cfg_zero_follows_the_papers_formula(draw: GenerateImages, tiny: Tiny) -> None:
    pipe = load_diffusers_pipeline(tiny("sd3"), "StableDiffusion3Pipeline", "Euler")
    with torch.no_grad():
        words, no_words, pooled, no_pooled = pipe.encode_prompt(
            prompt="a red cat",
            prompt_2=None,
            prompt_3=None,
            negative_prompt="blue",
            negative_prompt_2=None,
            negative_prompt_3=None,
            do_classifier_free_guidance=True,
        )
        pipe.scheduler.set_timesteps(3)
        latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(7))
        for step, time in enumerate(pipe.scheduler.timesteps):
            negative, positive = pipe.transformer(
                torch.cat([latents, latents]),
                timestep=time.expand(2),
                encoder_hidden_states=torch.cat([no_words, words]),
                pooled_projections=torch.cat([no_pooled, pooled]),
                return_dict=False,
            )[0].chunk(2)
            share = (positive * negative).sum() / (negative**2).sum()
            velocity = (1 - 7.0) * share * negative + 7.0 * positive if step else 0 * positive
            latents = pipe.scheduler.step(velocity, time, latents, return_dict=False)[0]
        decoded = pipe.vae.decode(latents / 0.3611 + 0.1159).sample
    expected = (decoded[0] / 2 + 0.5).clamp(0, 1).mul(255).round().movedim(0, -1).numpy()
    (drawn,) = draw("sd3", guidance_method="cfg-zero", negative_prompt="blue", guidance_scale=7)
    assert np.abs(to_array(drawn) - expected).max() <= 1
    assert np.abs(to_array(*draw("sd3", negative_prompt="blue", guidance_scale=7)) - expected).max() > 1


def test_rescaling_applies_to_the_projected_prediction(draw: GenerateImages) -> None:
    (rescaled,) = draw("sd3", guidance_method="cfg-zero", guidance_rescale=0.5)
    (plain,) = draw("sd3", guidance_method="cfg-zero")
    (other,) = draw("sd3", guidance_rescale=0.5)
    assert not np.array_equal(to_array(rescaled), to_array(plain))
    assert not np.array_equal(to_array(rescaled), to_array(other))
