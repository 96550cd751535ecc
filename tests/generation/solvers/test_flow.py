"""How flow pipelines call a solver, and the sigmas that result."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.cogview4 import pipeline_cogview4
from diffusers.pipelines.flux.pipeline_flux import retrieve_timesteps
from tests.generation.conftest import GenerateImages, to_array
from torch import Generator

from safelight.errors import SamplerIncompatibleError
from safelight.generation.solvers.samplers import (
    SAMPLERS,
    PredictionProcess,
    Sampler,
    SamplerChoice,
    build_scheduler,
    resolve_sampler,
)
from safelight.generation.solvers.sigmas import FLOW_SCHEDULES

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array_:DeprecationWarning"
)  # diffusers converts tensors to numpy

FLOW = [sampler for sampler in SAMPLERS.values() if PredictionProcess.FLOW in sampler.prediction_processes]
SD3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
FLUX = SD3 | {
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
COGVIEW4 = SD3 | {
    "shift": 1.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.25,
    "max_shift": 0.75,
    "time_shift_type": "linear",
}
EVERY = pytest.mark.parametrize("sampler", FLOW, ids=lambda sampler: sampler.name)


def sigmas_with_final(solver: Any) -> torch.Tensor:
    """One sigma a step, with the final one."""
    return torch.cat([solver.sigmas[: -1 : solver.order], solver.sigmas[-1:]])


@EVERY
def test_flux_passes_its_own_sigmas_and_mu(sampler: Sampler) -> None:
    """As its pipeline does: through retrieve_timesteps, which inspects the signature."""
    sigmas = np.linspace(1, 1 / 8, 8)
    own = FlowMatchEulerDiscreteScheduler.from_config(FLUX)
    own.set_timesteps(sigmas=sigmas, mu=0.9)
    solver = build_scheduler(SamplerChoice(sampler), FLUX, [0])
    assert not solver.config.get("use_flow_sigmas")  # or the pipeline would not pass them
    timesteps, _ = retrieve_timesteps(solver, 8, "cpu", sigmas=sigmas, mu=0.9)
    torch.testing.assert_close(sigmas_with_final(solver), own.sigmas, atol=2e-4, rtol=0)
    torch.testing.assert_close(timesteps[:: solver.order], own.timesteps)


def cogview4_timesteps(solver: Any, steps: int = 8, mu: float = 2.0) -> torch.Tensor:
    """The times that its network gets, once the solver's steps are set as its pipeline does."""
    times = np.linspace(1000, 1, steps).astype(np.int64).astype(np.float32)
    told, _ = pipeline_cogview4.retrieve_timesteps(solver, steps, "cpu", times, times / 1000, mu=mu)
    return told[:: solver.order]


@EVERY
def test_cogview4_passes_times_and_sigmas_and_its_network_gets_times_before_the_shift(
    sampler: Sampler,
) -> None:
    own = FlowMatchEulerDiscreteScheduler.from_config(COGVIEW4)
    expected = cogview4_timesteps(own)
    solver = build_scheduler(SamplerChoice(sampler), COGVIEW4, [0])
    torch.testing.assert_close(cogview4_timesteps(solver), expected)
    torch.testing.assert_close(sigmas_with_final(solver), own.sigmas, atol=2e-4, rtol=0)
    assert (
        sigmas_with_final(solver)[1:-1] * 1000 > 1.05 * expected[1:]
    ).all()  # mu 2 shifts the sigmas above the times


@pytest.mark.parametrize("schedule", ["sgm-uniform", "beta"])
@EVERY
def test_cogview4s_times_follow_the_schedule(sampler: Sampler, schedule: str) -> None:
    solver = build_scheduler(SamplerChoice(sampler, schedule), COGVIEW4, [0])
    time = cogview4_timesteps(solver) / 1000
    shifted = 2 / (2 + (1 / time - 1))
    torch.testing.assert_close(sigmas_with_final(solver)[:-1], shifted, atol=2e-4, rtol=0)
    usual = build_scheduler(SamplerChoice(sampler), COGVIEW4, [0])
    assert not torch.allclose(cogview4_timesteps(usual) / 1000, time, atol=1e-2)


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
def test_sigmas_without_a_time_before_the_shift_are_refused(schedule: str) -> None:
    solver = build_scheduler(resolve_sampler("Euler", schedule, "flow"), COGVIEW4, [0])
    with pytest.raises(SamplerIncompatibleError, match="expects unshifted timesteps"):
        cogview4_timesteps(solver)


@EVERY
def test_cogview4_generates(sampler: Sampler, draw: GenerateImages) -> None:
    (drawn,) = draw("cogview4", sampler=sampler.name)
    assert to_array(drawn).std() > 1


@EVERY
def test_sd3_passes_a_number_of_steps(sampler: Sampler) -> None:
    own = FlowMatchEulerDiscreteScheduler.from_config(SD3)
    own.set_timesteps(8)
    solver = build_scheduler(SamplerChoice(sampler), SD3, [0])
    retrieve_timesteps(solver, 8, "cpu", None)
    if sampler.open_end:
        assert sigmas_with_final(solver)[-2] > 5 * own.sigmas[-2]
    else:
        torch.testing.assert_close(sigmas_with_final(solver), own.sigmas)


@EVERY
def test_the_configuration_has_what_pipelines_read(sampler: Sampler) -> None:
    config = build_scheduler(SamplerChoice(sampler), FLUX, [0]).config
    assert {key: config[key] for key in FLUX if key != "_class_name"} == {
        key: value for key, value in FLUX.items() if key != "_class_name"
    }


@EVERY
@pytest.mark.parametrize("schedule", FLOW_SCHEDULES)
def test_sigmas_fall_from_noise_to_image_and_follow_the_shift(sampler: Sampler, schedule: str) -> None:
    seen = []
    for mu in (0.5, 1.15):
        solver = build_scheduler(SamplerChoice(sampler, schedule), FLUX, [0])
        solver.set_timesteps(10, mu=mu)
        sigmas = sigmas_with_final(solver)
        assert (sigmas.diff() < 0).all()
        assert float(sigmas[0]) == pytest.approx(1, abs=2e-4)
        assert float(sigmas[-1]) == 0
        seen.append(sigmas)
    assert (seen[1][1:-1] > seen[0][1:-1]).all()


def test_schedules_give_different_sigmas() -> None:
    seen = []
    for schedule in FLOW_SCHEDULES:
        solver = build_scheduler(resolve_sampler("Euler", schedule, "flow"), SD3, [0])
        solver.set_timesteps(10)
        seen.append(solver.sigmas)
    assert len({tuple(sigmas.tolist()) for sigmas in seen}) == len(FLOW_SCHEDULES)


def test_a_schedule_overrides_the_pipelines_spacing() -> None:
    """The pipeline's spacing is the meaning of automatic."""
    with_sigmas, without = (
        build_scheduler(resolve_sampler("Euler", "karras", "flow"), SD3, [0]) for _ in range(2)
    )
    with_sigmas.set_timesteps(sigmas=[1 - step / 8 for step in range(8)])
    without.set_timesteps(8)
    assert torch.equal(with_sigmas.sigmas, without.sigmas)


@EVERY
def test_images_are_noised_to_the_sigma_where_the_run_starts(sampler: Sampler) -> None:
    picture, noise = torch.full((2, 4, 2, 2), 3.0), torch.full((2, 4, 2, 2), -1.0)
    solver = build_scheduler(SamplerChoice(sampler), SD3, [0, 1])
    solver.set_timesteps(8)
    first = 4 * solver.order
    begin = solver.timesteps[first : first + 1].repeat(2)
    sigma = float(solver.sigmas[first])
    for _ in range(2):
        mixed = solver.scale_noise(picture, begin, noise)
        torch.testing.assert_close(mixed, torch.full_like(mixed, sigma * -1 + (1 - sigma) * 3))
        assert torch.equal(mixed, solver.add_noise(picture, noise, begin))
        solver.set_begin_index(first)


@pytest.mark.parametrize(
    ("own", "shift"),
    [("UniPCMultistepScheduler", "flow_shift"), ("DPMSolverMultistepScheduler", "flow_shift")],
)
def test_a_checkpoint_with_a_log_snr_scheduler_keeps_its_shift_and_spacing(own: str, shift: str) -> None:
    config = {"_class_name": own, "prediction_type": "flow_prediction", "use_flow_sigmas": True, shift: 5.0}
    solver = build_scheduler(resolve_sampler("Euler", None, "flow"), config, [0])
    solver.set_timesteps(4)
    expected = torch.linspace(1, 0.001, 5)[:-1]
    expected = torch.cat([5 * expected / (1 + 4 * expected), torch.zeros(1)])
    torch.testing.assert_close(solver.sigmas, expected)


@EVERY
def test_bfloat16_latents_stay_bfloat16(sampler: Sampler) -> None:
    solver = build_scheduler(SamplerChoice(sampler), SD3, [0])
    solver.set_timesteps(4)
    latents = torch.randn(1, 4, 4, 4, generator=Generator().manual_seed(0)).bfloat16()
    extra = (
        {"generator": Generator().manual_seed(1)}
        if "generator" in inspect.signature(solver.step).parameters
        else {}
    )
    for timestep in solver.timesteps:
        latents = solver.step(-0.1 * latents, timestep, latents, **extra, return_dict=False)[0]
        assert latents.dtype is torch.bfloat16
    assert torch.isfinite(latents).all()
