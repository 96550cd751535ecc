"""Every sampler is run: on a small random U-Net, and on Gaussian data, whose exact solution is known."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Generator, Tensor

from safelight.generation.solvers.samplers import (
    SAMPLERS,
    PredictionProcess,
    Sampler,
    SamplerChoice,
    build_scheduler,
    resolve_sampler,
)

# diffusers converts tensors to numpy in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SD = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": True,
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
EDM = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}
MEAN, SPREAD = 0.3, 0.5
CONFIG = {PredictionProcess.DIFFUSION: SD, PredictionProcess.FLOW: FLOW, PredictionProcess.EDM: EDM}
SOLVERS = [each for each in SAMPLERS.values() if not CONFIG.keys().isdisjoint(each.prediction_processes)]
"""All but that of distilled checkpoints over angles, which test_trigflow.py has."""

USUAL = [SamplerChoice(sampler) for sampler in SOLVERS]
EXACT = [
    each
    for each in SOLVERS
    if each.max_steps is None and PredictionProcess.EDM not in each.prediction_processes
]
STEADY = [each for each in EXACT if not each.stochastic]
# First-order noise gives too narrow a distribution in few steps.
LOWEST_SPREAD = {
    "Euler a": 0.8,
    "DDPM": 0.8,
    "DPM++ 2S SDE": 0.75,
    "Euler a FlowMatch": 0.75,
    "LCM FlowMatch": 0.6,
}
FIRST_ORDER = {"Euler", "DDIM", "Euler FlowMatch"}


class NoisePredictor(Protocol):
    """A prediction from scaled latents and a timestep."""

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor: ...


def title(each: Any) -> str:
    return each.name if isinstance(each, Sampler) else f"{each.sampler.name} {each.schedule}"


def run_sampler(
    choice: SamplerChoice,
    network: NoisePredictor,
    steps: int,
    *,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    noise_seed: int | None = None,
    start: int = 0,
    size: int = 8,
) -> tuple[Tensor, Tensor, float]:
    """Run a sampler as diffusers' pipelines do; returns the result, the latents at the start, and the sigma there."""
    (kind,) = choice.sampler.prediction_processes
    noise_seed = seed if noise_seed is None else noise_seed
    solver = build_scheduler(choice, config or CONFIG[kind], [noise_seed, noise_seed + 1])
    solver.set_timesteps(steps)
    first = start * solver.order
    noise = torch.randn(2, 4, size, size, generator=Generator().manual_seed(seed))
    if start:
        solver.set_begin_index(first)
        picture, begin = torch.full_like(noise, MEAN), solver.timesteps[first].repeat(2)
        latents = (
            solver.scale_noise(picture, begin, noise)
            if kind is PredictionProcess.FLOW
            else solver.add_noise(picture, noise, begin)
        )
    else:
        latents = noise if kind is PredictionProcess.FLOW else noise * solver.init_noise_sigma
    begun, sigma = latents, float(solver.sigmas[first]) if hasattr(solver, "sigmas") else math.nan
    takes = inspect.signature(solver.step).parameters
    extra = {"generator": Generator().manual_seed(noise_seed + 7)} if "generator" in takes else {}
    extra |= {"eta": choice.sampler.eta} if "eta" in takes else {}
    for timestep in solver.timesteps[first:]:
        scaled = latents if kind is PredictionProcess.FLOW else solver.scale_model_input(latents, timestep)
        latents = solver.step(network(scaled, timestep), timestep, latents, **extra, return_dict=False)[0]
    return latents, begun, sigma


@pytest.fixture(scope="module")
def unet() -> NoisePredictor:
    """A U-Net with random weights that uses its timestep."""
    torch.manual_seed(0)
    model = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        norm_num_groups=4,
        cross_attention_dim=8,
    ).eval()
    words = torch.zeros(2, 1, 8)

    @torch.inference_mode()
    def network(latents: Tensor, timestep: Tensor) -> Tensor:
        return model(latents, timestep, words).sample

    return network


class GaussianPredictor:
    """The exact network for data whose every value has one normal distribution."""

    def __init__(self, prediction: str) -> None:
        self.prediction = prediction
        betas = np.linspace(SD["beta_start"] ** 0.5, SD["beta_end"] ** 0.5, 1000) ** 2
        alphas = np.cumprod(1 - betas)
        self.logs = np.log(np.sqrt((1 - alphas) / alphas))

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        if self.prediction == "flow_prediction":
            sigma = float(timestep) / 1000
            alpha = 1 - sigma
        else:
            ratio = math.exp(np.interp(float(timestep), np.arange(1000), self.logs))
            alpha = 1 / math.sqrt(1 + ratio**2)
            sigma = ratio * alpha
        score = (latents.double() - alpha * MEAN) / ((alpha * SPREAD) ** 2 + sigma**2)
        clean, noise = MEAN + alpha * SPREAD**2 * score, sigma * score
        answers = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": alpha * noise - sigma * clean,
            "flow_prediction": noise - clean,
        }
        return answers[self.prediction].float()


def exact_solution(choice: SamplerChoice, begun: Tensor, sigma: float) -> Tensor:
    """The end of the probability flow of Gaussian data: each value keeps its distance to the mean in standard
    deviations."""
    (kind,) = choice.sampler.prediction_processes
    if kind is PredictionProcess.FLOW:
        alpha = 1 - sigma
    elif choice.sampler.name in ("Euler", "Heun", "LMS", "DPM2"):  # their latents are x0 + sigma * noise
        alpha = 1.0
    else:
        alpha = 1 / math.sqrt(1 + sigma**2)
        sigma *= alpha
    return MEAN + SPREAD * (begun - alpha * MEAN) / math.sqrt((alpha * SPREAD) ** 2 + sigma**2)


@cache
def largest_error(sampler: Sampler, steps: int, start: int = 0, prediction: str = "epsilon") -> float:
    """The largest error against the exact solution, in standard deviations, on the sampler's best common schedule."""
    flow = PredictionProcess.FLOW in sampler.prediction_processes
    choice = SamplerChoice(
        sampler, "sgm-uniform" if flow else "karras" if "karras" in sampler.schedules else "normal"
    )
    network = GaussianPredictor("flow_prediction" if flow else prediction)
    config = None if flow else SD | {"prediction_type": prediction}
    result, begun, sigma = run_sampler(choice, network, steps, start=start, config=config)
    return float((result - exact_solution(choice, begun, sigma)).abs().max()) / SPREAD


@pytest.mark.parametrize("sampler", SOLVERS, ids=title)
def test_every_sampler_runs_with_every_schedule_and_gives_another_result(
    sampler: Sampler, unet: NoisePredictor
) -> None:
    """Also in fewer steps than a multistep solver would remember."""
    results = {}
    for schedule in sampler.schedules:
        for steps in (1, 2, 4):
            results[schedule], begun, _ = run_sampler(SamplerChoice(sampler, schedule), unet, steps)
            assert torch.isfinite(results[schedule]).all()
            assert not torch.equal(results[schedule], begun)
    results.pop(
        "karras" if PredictionProcess.EDM in sampler.prediction_processes else "leading", None
    )  # the meaning of automatic here
    for one, other in combinations(results, 2):
        assert not torch.allclose(results[one], results[other], rtol=1e-3, atol=1e-3), (one, other)


@pytest.mark.parametrize("choice", USUAL, ids=title)
def test_a_seed_determines_the_image(choice: SamplerChoice, unet: NoisePredictor) -> None:
    result = run_sampler(choice, unet, 4)[0]
    assert torch.equal(result, run_sampler(choice, unet, 4)[0])
    assert not torch.allclose(result, run_sampler(choice, unet, 4, seed=5)[0])
    renoised = run_sampler(choice, unet, 4, noise_seed=5)[0]
    assert torch.equal(result, renoised) != choice.sampler.stochastic


@pytest.mark.parametrize(
    "name",
    [
        each.name
        for each in SOLVERS
        if each.stochastic and PredictionProcess.DIFFUSION in each.prediction_processes
    ],
)
def test_images_of_a_batch_have_their_own_noise(name: str) -> None:
    still = lambda latents, timestep: 0 * latents  # noqa: E731
    result, begun, _ = run_sampler(resolve_sampler(name), still, 4)
    moved = result - begun * (result * begun).sum() / (begun * begun).sum()
    assert not torch.allclose(moved[0], moved[1])


@pytest.mark.parametrize(
    "sampler",
    [each for each in SOLVERS if PredictionProcess.DIFFUSION in each.prediction_processes],
    ids=title,
)
def test_v_and_sample_prediction_equal_epsilon_prediction(sampler: Sampler) -> None:
    """The same exact network in other parametrisations."""
    results = {
        prediction: run_sampler(
            SamplerChoice(sampler),
            GaussianPredictor(prediction),
            6,
            config=SD | {"prediction_type": prediction},
        )[0]
        for prediction in sorted(sampler.prediction_types)
    }
    assert {"epsilon", "v_prediction"} <= set(results)
    for result in results.values():
        torch.testing.assert_close(result, results["epsilon"], atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", list(CONFIG))
def test_no_sampler_duplicates_another(kind: PredictionProcess, unet: NoisePredictor) -> None:
    """Except for two pairs that are one method in other coordinates, as the table says."""
    results = {
        each.name: run_sampler(SamplerChoice(each), unet, 6)[0]
        for each in SOLVERS
        if kind in each.prediction_processes
    }
    alike = {
        (one, other)
        for one, other in combinations(results, 2)
        if float((results[one] - results[other]).norm() / results[one].norm()) < 3e-4
    }
    assert alike == (
        {("Euler", "DDIM"), ("Euler a", "DDPM")} if kind is PredictionProcess.DIFFUSION else set()
    )


@pytest.mark.parametrize("sampler", STEADY, ids=title)
def test_fifty_steps_land_near_the_exact_solution(sampler: Sampler) -> None:
    assert largest_error(sampler, 50) < (0.25 if sampler.name in FIRST_ORDER else 0.1)


@pytest.mark.parametrize("sampler", STEADY, ids=title)
def test_higher_orders_are_closer_than_euler(sampler: Sampler) -> None:
    if sampler.name in FIRST_ORDER:
        assert largest_error(sampler, 40) < 0.7 * largest_error(sampler, 20)
    else:
        euler = resolve_sampler("Euler", None, next(iter(sampler.prediction_processes))).sampler
        assert largest_error(sampler, 20) < 0.75 * largest_error(euler, 20)


@pytest.mark.parametrize("sampler", STEADY, ids=title)
def test_a_run_that_starts_in_the_middle_lands_near_it_too(sampler: Sampler) -> None:
    """Multistep solvers start without the history they would have had."""
    starts = (24, 25) if "go in t" in sampler.note else (25,)
    assert all(
        largest_error(sampler, 50, start) < (0.25 if sampler.name in FIRST_ORDER else 0.1) for start in starts
    )


@pytest.mark.parametrize("choice", USUAL, ids=title)
def test_every_sampler_can_start_in_the_middle(choice: SamplerChoice, unet: NoisePredictor) -> None:
    for start in (2, 5):
        assert torch.isfinite(run_sampler(choice, unet, 6, start=start)[0]).all()


@pytest.mark.parametrize("sampler", [each for each in EXACT if each.stochastic], ids=title)
def test_ancestral_noise_keeps_the_distribution(sampler: Sampler) -> None:
    """Here diffusers' own DPM++ 3M SDE gives a distribution that is a tenth too wide."""
    choice = SamplerChoice(sampler, "karras")
    network = GaussianPredictor(
        "flow_prediction" if PredictionProcess.FLOW in sampler.prediction_processes else "epsilon"
    )
    result = run_sampler(choice, network, 20, size=48)[0]
    assert float(result.mean()) == pytest.approx(MEAN, abs=0.03)
    highest = 1.1 if "Heun" in sampler.name or sampler.name.startswith("SA") else 1.05
    assert LOWEST_SPREAD.get(sampler.name, 0.95) < float(result.std()) / SPREAD < highest


@pytest.mark.parametrize(
    "sampler",
    [each for each in SOLVERS if PredictionProcess.FLOW not in each.prediction_processes],
    ids=title,
)
def test_bfloat16_latents_stay_bfloat16(sampler: Sampler) -> None:
    (kind,) = sampler.prediction_processes
    solver = build_scheduler(SamplerChoice(sampler), CONFIG[kind], [0])
    solver.set_timesteps(5)
    latents = torch.randn(1, 4, 4, 4, generator=Generator().manual_seed(0)).bfloat16()
    takes = inspect.signature(solver.step).parameters
    extra = {"generator": Generator().manual_seed(1)} if "generator" in takes else {}
    for timestep in solver.timesteps:
        scaled = solver.scale_model_input(latents, timestep)
        assert scaled.dtype is torch.bfloat16
        latents = solver.step(0.1 * scaled, timestep, latents, **extra, return_dict=False)[0]
        assert latents.dtype is torch.bfloat16
    assert torch.isfinite(latents).all()


def test_eta_turns_ddim_into_ddpm() -> None:
    ddim, network = resolve_sampler("DDIM").sampler, GaussianPredictor("epsilon")
    still, whole = (run_sampler(SamplerChoice(replace(ddim, eta=eta)), network, 10)[0] for eta in (0.0, 1.0))
    assert torch.equal(whole, run_sampler(resolve_sampler("DDPM"), network, 10)[0])
    assert not torch.allclose(still, whole)


def test_ddim_clips_where_the_checkpoints_config_says_so() -> None:
    far = lambda latents, timestep: torch.full_like(latents, -9.0)  # noqa: E731
    free = run_sampler(resolve_sampler("DDIM"), far, 4)[0]
    clipped = run_sampler(
        resolve_sampler("DDIM"), far, 4, config=SD | {"clip_sample": True, "clip_sample_range": 2.0}
    )[0]
    assert float(free.abs().max()) > 3
    assert float(clipped.abs().max()) == pytest.approx(2)


def test_ddim_ends_where_the_checkpoints_config_says_so() -> None:
    solver = build_scheduler(resolve_sampler("DDIM"), SD | {"set_alpha_to_one": False}, [0])
    solver.set_timesteps(10)
    assert float(solver.sigmas[-1]) == pytest.approx(0.0292, abs=1e-4)
    solver = build_scheduler(resolve_sampler("DDIM", "karras"), SD | {"set_alpha_to_one": False}, [0])
    solver.set_timesteps(10)
    assert float(solver.sigmas[-1]) == 0


def test_second_order_samplers_call_the_network_as_often_as_the_table_says() -> None:
    for sampler in SOLVERS:
        (kind,) = sampler.prediction_processes
        solver = build_scheduler(SamplerChoice(sampler), CONFIG[kind], [0])
        solver.set_timesteps(7)
        assert len(solver.timesteps) == (13 if sampler.calls_per_step == 2 else 7), sampler.name
        assert solver.order == sampler.calls_per_step
