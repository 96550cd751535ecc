"""The steps a sampler takes: diffusers' solvers, put on the noise levels of ``sigmas.Grid``.

diffusers gives every solver its own idea of the sigma schedules: some round timesteps, some repeat the last sigma, some
know no schedule at all. Here the levels come from one place and the solver only steps between them, so a schedule
means the same under every sampler. What diffusers lacks or gets wrong is written out below, with its source.
A solver keeps the memory of one run: make a fresh one for each (``samplers.build``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor

from safelight.generation.sigmas import Grid, Levels

Stepped: TypeAlias = SchedulerOutput | tuple[Tensor, ...]
Device: TypeAlias = str | torch.device | None
Generators: TypeAlias = Generator | list[Generator] | None


class OnGrid:
    """A solver with one network call a step, whose levels are a grid's."""

    grid: Grid | None = None

    def set_timesteps(self, num_inference_steps: int, device: Device = None) -> None:
        """Forget the run before, and place the steps.

        Args:
            num_inference_steps: Number of steps.
            device: Where the network runs.
        """
        super().set_timesteps(num_inference_steps, device=device)  # type: ignore[misc]
        if self.grid is None:  # still in diffusers' constructor
            return
        sigmas, timesteps = self.grid.levels(num_inference_steps)
        self.sigmas = torch.tensor([*sigmas, self.final_sigma(sigmas[-1])], dtype=torch.float32)
        self.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)

    def final_sigma(self, last: float) -> float:  # noqa: ARG002
        """Where the step after the last level ends: no noise at all."""
        return 0.0


class OnDoubledGrid:
    """A solver with two network calls a step. diffusers lays them out; its karras switch is where the grid comes in."""

    grid: Grid | None = None
    timesteps: Tensor

    def set_timesteps(
        self, num_inference_steps: int, device: Device = None, num_train_timesteps: int | None = None
    ) -> None:
        """Forget the run before, and place the steps.

        Args:
            num_inference_steps: Number of steps, each of two calls but the last.
            device: Where the network runs.
            num_train_timesteps: For diffusers' constructors alone.
        """
        super().set_timesteps(num_inference_steps, device, num_train_timesteps)  # type: ignore[misc]
        if self.grid is not None:
            # Some of diffusers' layouts round these.
            timesteps = self.timesteps.to(torch.float32)
            timesteps[::2] = torch.tensor(self.grid.levels(num_inference_steps)[1], dtype=torch.float32)
            self.timesteps = timesteps

    def _convert_to_karras(self, in_sigmas: Levels, num_inference_steps: int | None = None) -> Levels:
        return in_sigmas if self.grid is None else self.grid.levels(num_inference_steps or len(in_sigmas))[0]

    def _sigma_to_t(self, sigma: Levels, log_sigmas: Levels) -> Levels:  # noqa: ARG002
        return np.zeros(np.shape(sigma)) if self.grid is None else self.grid.timestep(sigma)


class Euler(OnGrid, EulerDiscreteScheduler):
    """Euler's method."""


class EulerAncestral(OnGrid, EulerAncestralDiscreteScheduler):
    """Euler's method with ancestral noise."""


class Heun(OnDoubledGrid, HeunDiscreteScheduler):
    """Heun's method (Karras et al., 2022, algorithm 1)."""

    def set_timesteps(
        self, num_inference_steps: int, device: Device = None, num_train_timesteps: int | None = None
    ) -> None:
        """See ``OnDoubledGrid.set_timesteps``."""
        super().set_timesteps(num_inference_steps, device, num_train_timesteps)
        if self.grid is not None:
            self.timesteps[1::2] = self.timesteps[2::2]  # the second call is at the next level itself


class DPM2(OnDoubledGrid, KDPM2DiscreteScheduler):
    """The midpoint method in log sigma."""


class DPM2Ancestral(OnDoubledGrid, KDPM2AncestralDiscreteScheduler):
    """The midpoint method in log sigma, with ancestral noise."""


class DPMpp2SAncestral(DPM2Ancestral):
    """DPM-Solver++(2S) with ancestral noise (Lu et al., 2022b; k-diffusion). diffusers has none."""

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Stepped:
        """One network call's share of a step.

        Args:
            model_output: What the network predicted, (pictures, channels, rows, columns).
            timestep: Where it did.
            sample: The latents it saw, before ``scale_model_input``.
            generator: Where the ancestral noise comes from.
            return_dict: Whether to return an object or a tuple.
        """
        if self.step_index is None:
            self._init_step_index(timestep)
        first, index = self.state_in_first_order, self.step_index - (not self.state_in_first_order)
        sigma, middle = self.sigmas[index], self.sigmas_interpol[index]
        clean = _clean(self.config.prediction_type, model_output, sample, sigma if first else middle)
        if first:
            self.sample = sample if middle > 0 else None
            # The last step has no middle: it goes to the clean picture at once.
            ratio = middle / sigma
            moved = ratio * sample + (1 - ratio) * clean
        else:
            ratio = self.sigmas_down[index] / sigma
            noise = randn_tensor(sample.shape, generator, sample.device, sample.dtype)
            moved = ratio * self.sample + (1 - ratio) * clean + self.sigmas_up[index] * noise
            self.sample = None
        self._step_index += 1
        return stepped(moved, return_dict)


class DPMppSDE(OnDoubledGrid, DPMSolverSDEScheduler):
    """DPM-Solver++ for the stochastic equation, single step, with Brownian noise from each picture's own seed."""

    noise_sampler: BrownianTreeNoiseSampler | None

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> Stepped:
        """One network call's share of a step.

        Args:
            model_output: What the network predicted.
            timestep: Where it did.
            sample: The latents.
            return_dict: Whether to return an object or a tuple.
        """
        if self.noise_sampler is None:
            # A little wider than the run: rounding must not ask for noise outside it.
            low, high = float(self.sigmas[self.sigmas > 0].min()) * 0.99, float(self.sigmas.max()) * 1.01
            self.noise_sampler = BrownianTreeNoiseSampler(sample, low, high, self.noise_sampler_seed)
        return super().step(model_output, timestep, sample, return_dict)


class LMS(OnGrid, LMSDiscreteScheduler):
    """Linear multistep on uneven levels."""

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> Stepped:
        """One step, of no higher order than there is memory: a run may begin in the middle.

        Args:
            model_output: What the network predicted.
            timestep: Where it did.
            sample: The latents.
            return_dict: Whether to return an object or a tuple.
        """
        order = min(len(self.derivatives) + 1, 4)
        return super().step(model_output, timestep, sample, order=order, return_dict=return_dict)


class RepairedMultistep(DPMSolverMultistepScheduler):
    """diffusers' multistep DPM-Solver++ with its stochastic third order put right."""

    def multistep_dpm_solver_third_order_update(
        self, model_output_list: list[Tensor], *, sample: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """The third-order step.

        diffusers 0.42 takes one half away in the stochastic coefficient of the second difference where it belongs
        added: that coefficient must vanish with the step's length, and theirs goes to minus one.

        Args:
            model_output_list: The last three clean predictions, oldest first.
            sample: The latents.
            noise: Unit noise where the equation is stochastic.
        """
        if noise is None:
            return super().multistep_dpm_solver_third_order_update(model_output_list, sample=sample)
        pairs = [self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + 1 - back]) for back in range(4)]
        times = [torch.log(alpha) - torch.log(sigma) for alpha, sigma in pairs]
        h, h_0, h_1 = (later - earlier for later, earlier in pairwise(times))
        slope, older_slope = (
            (model_output_list[-1] - model_output_list[-2]) * h / h_0,
            (model_output_list[-2] - model_output_list[-3]) * h / h_1,
        )
        curvature = (slope - older_slope) * h / (h_0 + h_1)
        slope = slope + curvature * h_0 / h
        phi_1 = -torch.expm1(-2 * h)
        phi_2 = 1 - phi_1 / (2 * h)
        phi_3 = 0.5 - phi_2 / (2 * h)
        (alpha, sigma), (_, sigma_before) = pairs[0], pairs[1]
        clean = phi_1 * model_output_list[-1] + phi_2 * slope + phi_3 * curvature
        return sigma / sigma_before * torch.exp(-h) * sample + alpha * clean + sigma * phi_1.sqrt() * noise


class DPMppMultistep(OnGrid, RepairedMultistep):
    """DPM-Solver++, multistep, for the probability flow or the stochastic equation (Lu et al., 2022b)."""


class DPMppSinglestep(OnGrid, DPMSolverSinglestepScheduler):
    """DPM-Solver++, single step: steps go together in twos or threes."""


class EndsClean:
    """The last step goes to the network's clean prediction, the limit of first order; diffusers' formulas give NaN."""

    timesteps: Tensor
    step_index: int | None
    _step_index: int

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Stepped:
        """One step.

        Args:
            model_output: What the network predicted.
            timestep: Where it did.
            sample: The latents.
            generator: Where noise comes from, if the solver adds any.
            return_dict: Whether to return an object or a tuple.
        """
        if self.step_index is None:
            self._init_step_index(timestep)  # type: ignore[attr-defined]
        if self.step_index == len(self.timesteps) - 1:
            clean = self.clean(model_output, sample)
            self._step_index += 1
            return stepped(clean, return_dict)
        extra = {"generator": generator} if isinstance(self, SASolverScheduler) else {}
        return super().step(model_output, timestep, sample, return_dict=return_dict, **extra)  # type: ignore[misc]

    def clean(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """The clean latents that the network's prediction stands for."""
        return self.convert_model_output(model_output, sample=sample)  # type: ignore[attr-defined]


class RepairedUniPC(EndsClean, UniPCMultistepScheduler):
    """diffusers' UniPC, able to end at zero noise in both its variants."""


class RepairedDEIS(EndsClean, DEISMultistepScheduler):
    """diffusers' DEIS, able to end at zero noise."""

    def clean(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """See ``EndsClean.clean``; this solver converts predictions to noise."""
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        return (sample - sigma * self.convert_model_output(model_output, sample=sample)) / alpha


class RepairedSASolver(EndsClean, SASolverScheduler):
    """diffusers' SA-Solver, able to end at zero noise; it noises pictures to the run's own levels."""

    add_noise = DPMSolverMultistepScheduler.add_noise
    index_for_timestep = DPMSolverMultistepScheduler.index_for_timestep


class UniPC(OnGrid, RepairedUniPC):
    """Unified predictor-corrector (Zhao et al., 2023)."""


class DEIS(OnGrid, RepairedDEIS):
    """Exponential integrator with polynomials in log rho (Zhang & Chen, 2022)."""


class SASolver(OnGrid, RepairedSASolver):
    """Stochastic Adams predictor-corrector (Xue et al., 2023)."""


def _clean(prediction: str, model_output: Tensor, sample: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents that a prediction stands for, at k-diffusion's sigma."""
    if prediction == "epsilon":
        return sample - sigma * model_output
    scale = sigma**2 + 1
    return sample / scale - model_output * sigma / scale.sqrt()


def stepped(latents: Tensor, return_dict: bool) -> Stepped:
    """Latents as diffusers' pipelines want them back from a step."""
    return SchedulerOutput(prev_sample=latents) if return_dict else (latents,)
