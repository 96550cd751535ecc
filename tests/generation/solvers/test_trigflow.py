"""The consistency sampler over angles."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import SCMScheduler

from safelight.errors import SamplerIncompatibleError
from safelight.generation.previews import DenoiserPrediction, clean_latents
from safelight.generation.solvers.samplers import (
    PredictionProcess,
    build_scheduler,
    prediction_process_of,
    resolve_sampler,
)

CONFIG = {"_class_name": "SCMScheduler", "sigma_data": 0.5}
CHOICE = resolve_sampler("SCM", None, PredictionProcess.TRIGFLOW)


@pytest.mark.parametrize(
    ("steps", "angles"),
    [(1, [1.57, 0]), (2, [1.57, 1.3, 0]), (4, [1.57, 0.75 * 1.57, 0.5 * 1.57, 0.25 * 1.57, 0])],
)
def test_the_angles_are_even_except_for_two_steps(steps: int, angles: list[float]) -> None:
    scheduler = build_scheduler(CHOICE, CONFIG, [1])
    scheduler.set_timesteps(steps, device="cpu", max_timesteps=1.57, intermediate_timesteps=None)
    assert scheduler.timesteps.tolist() == pytest.approx(angles)


def test_a_step_is_that_of_diffusers() -> None:
    ours, theirs = build_scheduler(CHOICE, CONFIG, [1]), SCMScheduler(sigma_data=0.5)
    sample, output = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(2, device="cpu", max_timesteps=1.57080, intermediate_timesteps=1.3)
        noise = torch.Generator().manual_seed(1)
        results.append(scheduler.step(output, scheduler.timesteps[0], sample, generator=noise))
    assert torch.equal(results[0].prev_sample, results[1].prev_sample)
    clean = clean_latents(ours, DenoiserPrediction(sample, sample, 1.57080, output))
    assert torch.allclose(clean * 0.5, results[1].pred_original_sample, atol=1e-5)
    assert math.isclose(float(ours.timesteps[1]), 1.3, rel_tol=1e-6)


def test_only_checkpoints_over_angles_take_it() -> None:
    assert prediction_process_of(CONFIG) is PredictionProcess.TRIGFLOW
    with pytest.raises(SamplerIncompatibleError, match="SCM does not fit"):
        resolve_sampler("SCM", None, PredictionProcess.FLOW)
    with pytest.raises(SamplerIncompatibleError, match="Euler does not fit"):
        resolve_sampler("Euler", None, PredictionProcess.TRIGFLOW)
