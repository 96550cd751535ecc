"""Solvers for diffusion checkpoints: diffusers' schedulers on the noise levels of ``sigmas.SigmaGrid``.

In diffusers every solver implements sigma schedules in its own way: some round timesteps, some repeat the last sigma,
some support no schedule at all. Here one class computes the levels and the solver only steps between them, so a
schedule means the same with every sampler. What diffusers lacks or gets wrong is implemented below, with its source.
A solver holds the state of one run: build a new one for each run (``samplers.build_scheduler``).
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

from safelight.generation.solvers.sigmas import Levels, SigmaGrid

StepOutput: TypeAlias = SchedulerOutput | tuple[Tensor, ...]
Device: TypeAlias = str | torch.device | None
GeneratorArgument: TypeAlias = Generator | list[Generator] | None


class SigmaGridMixin:
    """Mixin for solvers with one network call per step, whose noise levels come from a ``SigmaGrid``."""

    grid: SigmaGrid | None = None

    def set_timesteps(self, num_inference_steps: int, device: Device = None) -> None:
        """Reset the solver's state and set the sigmas and timesteps of a run.

        Args:
            num_inference_steps: Number of steps.
            device: The network's device.
        """
        super().set_timesteps(num_inference_steps, device=device)  # type: ignore[misc]
        if self.grid is None:  # still in diffusers' constructor
            return
        sigmas, timesteps = self.grid.levels(num_inference_steps)
        self.sigmas = torch.tensor([*sigmas, self.final_sigma(sigmas[-1])], dtype=torch.float32)
        self.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)

    def final_sigma(self, last_sigma: float) -> float:  # noqa: ARG002
        """Return the sigma at the end of the last step: 0, no noise."""
        return 0.0


class TwoCallGridMixin:
    """Mixin for solvers with two network calls per step.

    diffusers computes the layout of the calls; the ``SigmaGrid`` replaces its conversion to Karras sigmas.
    """

    grid: SigmaGrid | None = None
    timesteps: Tensor

    def set_timesteps(
        self, num_inference_steps: int, device: Device = None, num_train_timesteps: int | None = None
    ) -> None:
        """Reset the solver's state and set the sigmas and timesteps of a run.

        Args:
            num_inference_steps: Number of steps, each with two calls but the last.
            device: The network's device.
            num_train_timesteps: Used by diffusers' constructors only.
        """
        super().set_timesteps(num_inference_steps, device, num_train_timesteps)  # type: ignore[misc]
        if self.grid is not None:
            # Some diffusers schedulers round the timesteps.
            timesteps = self.timesteps.to(torch.float32)
            timesteps[::2] = torch.tensor(self.grid.levels(num_inference_steps)[1], dtype=torch.float32)
            self.timesteps = timesteps

    def _convert_to_karras(self, in_sigmas: Levels, num_inference_steps: int | None = None) -> Levels:
        return in_sigmas if self.grid is None else self.grid.levels(num_inference_steps or len(in_sigmas))[0]

    def _sigma_to_t(self, sigma: Levels, log_sigmas: Levels) -> Levels:  # noqa: ARG002
        return np.zeros(np.shape(sigma)) if self.grid is None else self.grid.to_timesteps(sigma)


class Euler(SigmaGridMixin, EulerDiscreteScheduler):
    """Euler's method."""


class EulerAncestral(SigmaGridMixin, EulerAncestralDiscreteScheduler):
    """Euler's method with ancestral noise."""


class Heun(TwoCallGridMixin, HeunDiscreteScheduler):
    """Heun's method (Karras et al., 2022, algorithm 1)."""

    def set_timesteps(
        self, num_inference_steps: int, device: Device = None, num_train_timesteps: int | None = None
    ) -> None:
        """See ``TwoCallGridMixin.set_timesteps``."""
        super().set_timesteps(num_inference_steps, device, num_train_timesteps)
        if self.grid is not None:
            self.timesteps[1::2] = self.timesteps[2::2]  # the second call is at the next noise level


class DPM2(TwoCallGridMixin, KDPM2DiscreteScheduler):
    """The midpoint method in log sigma."""


class DPM2Ancestral(TwoCallGridMixin, KDPM2AncestralDiscreteScheduler):
    """The midpoint method in log sigma, with ancestral noise."""


class DPMpp2SAncestral(DPM2Ancestral):
    """DPM-Solver++(2S) with ancestral noise (Lu et al., 2022b; k-diffusion), which diffusers lacks."""

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: GeneratorArgument = None,
        return_dict: bool = True,
    ) -> StepOutput:
        """Process one network call, half a step.

        Args:
            model_output: The network's prediction, (batch, channels, rows, columns).
            timestep: The timestep of that prediction.
            sample: The latents it was computed from, before ``scale_model_input``.
            generator: Source of the ancestral noise.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        if self.step_index is None:
            self._init_step_index(timestep)
        first, index = self.state_in_first_order, self.step_index - (not self.state_in_first_order)
        sigma, middle = self.sigmas[index], self.sigmas_interpol[index]
        clean = _predict_clean(self.config.prediction_type, model_output, sample, sigma if first else middle)
        if first:
            self.sample = sample if middle > 0 else None
            # The last step has no midpoint: it goes straight to the clean latents.
            ratio = middle / sigma
            moved = ratio * sample + (1 - ratio) * clean
        else:
            ratio = self.sigmas_down[index] / sigma
            noise = randn_tensor(sample.shape, generator, sample.device, sample.dtype)
            moved = ratio * self.sample + (1 - ratio) * clean + self.sigmas_up[index] * noise
            self.sample = None
        self._step_index += 1
        return step_output(moved, return_dict)


class DPMppSDE(TwoCallGridMixin, DPMSolverSDEScheduler):
    """DPM-Solver++ for the stochastic equation, singlestep, with Brownian noise from each image's own seed."""

    noise_sampler: BrownianTreeNoiseSampler | None

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> StepOutput:
        """Process one network call, half a step.

        Args:
            model_output: The network's prediction.
            timestep: The timestep of that prediction.
            sample: The current latents.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        if self.noise_sampler is None:
            # A little wider than the run's sigmas, so that rounding cannot request noise outside the range.
            low, high = float(self.sigmas[self.sigmas > 0].min()) * 0.99, float(self.sigmas.max()) * 1.01
            self.noise_sampler = BrownianTreeNoiseSampler(sample, low, high, self.noise_sampler_seed)
        return super().step(model_output, timestep, sample, return_dict)


class LMS(SigmaGridMixin, LMSDiscreteScheduler):
    """Linear multistep on unevenly spaced sigmas."""

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> StepOutput:
        """Take one step; its order is limited by the predictions so far, since a run may start in the middle.

        Args:
            model_output: The network's prediction.
            timestep: The timestep of that prediction.
            sample: The current latents.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        order = min(len(self.derivatives) + 1, 4)
        return super().step(model_output, timestep, sample, order=order, return_dict=return_dict)


class CorrectedMultistep(DPMSolverMultistepScheduler):
    """diffusers' multistep DPM-Solver++ with its stochastic third-order update corrected."""

    def multistep_dpm_solver_third_order_update(
        self, model_output_list: list[Tensor], *, sample: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Take the third-order step.

        In the stochastic coefficient of the second difference, diffusers 0.42 subtracts one half where it has to be
        added: that coefficient must vanish with the step's length, and diffusers' goes to minus one.

        Args:
            model_output_list: The last three clean predictions, oldest first.
            sample: The latents.
            noise: Standard normal noise if the equation is stochastic, else None.
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


class DPMppMultistep(SigmaGridMixin, CorrectedMultistep):
    """DPM-Solver++, multistep, for the probability flow or the stochastic equation (Lu et al., 2022b)."""


class DPMppSinglestep(SigmaGridMixin, DPMSolverSinglestepScheduler):
    """DPM-Solver++, singlestep: steps are grouped in twos or threes."""


class CleanFinalStepMixin:
    """Mixin whose last step returns the network's clean prediction, the first-order limit; diffusers' returns NaN."""

    timesteps: Tensor
    step_index: int | None
    _step_index: int

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: GeneratorArgument = None,
        return_dict: bool = True,
    ) -> StepOutput:
        """Take one step.

        Args:
            model_output: The network's prediction.
            timestep: The timestep of that prediction.
            sample: The current latents.
            generator: Source of noise, if the solver adds any.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        if self.step_index is None:
            self._init_step_index(timestep)  # type: ignore[attr-defined]
        if self.step_index == len(self.timesteps) - 1:
            clean = self.predict_clean(model_output, sample)
            self._step_index += 1
            return step_output(clean, return_dict)
        extra = {"generator": generator} if isinstance(self, SASolverScheduler) else {}
        return super().step(model_output, timestep, sample, return_dict=return_dict, **extra)  # type: ignore[misc]

    def predict_clean(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """Return the clean latents that correspond to the network's prediction."""
        return self.convert_model_output(model_output, sample=sample)  # type: ignore[attr-defined]


class CorrectedUniPC(CleanFinalStepMixin, UniPCMultistepScheduler):
    """diffusers' UniPC, which can end at zero noise in both variants."""


class CorrectedDEIS(CleanFinalStepMixin, DEISMultistepScheduler):
    """diffusers' DEIS, which can end at zero noise."""

    def predict_clean(self, model_output: Tensor, sample: Tensor) -> Tensor:
        """See ``CleanFinalStepMixin.predict_clean``; this solver converts predictions to noise."""
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        return (sample - sigma * self.convert_model_output(model_output, sample=sample)) / alpha


class CorrectedSASolver(CleanFinalStepMixin, SASolverScheduler):
    """diffusers' SA-Solver, which can end at zero noise; ``add_noise`` uses the run's own noise levels."""

    add_noise = DPMSolverMultistepScheduler.add_noise
    index_for_timestep = DPMSolverMultistepScheduler.index_for_timestep


class UniPC(SigmaGridMixin, CorrectedUniPC):
    """Unified predictor-corrector (Zhao et al., 2023)."""


class DEIS(SigmaGridMixin, CorrectedDEIS):
    """Exponential integrator with polynomials in log rho (Zhang & Chen, 2022)."""


class SASolver(SigmaGridMixin, CorrectedSASolver):
    """Stochastic Adams predictor-corrector (Xue et al., 2023)."""


def _predict_clean(prediction_type: str, model_output: Tensor, sample: Tensor, sigma: Tensor) -> Tensor:
    """Return the clean latents that correspond to a prediction, at k-diffusion's sigma."""
    if prediction_type == "epsilon":
        return sample - sigma * model_output
    scale = sigma**2 + 1
    return sample / scale - model_output * sigma / scale.sqrt()


def step_output(latents: Tensor, return_dict: bool) -> StepOutput:
    """Return latents in the form that diffusers' pipelines expect from ``step``."""
    return SchedulerOutput(prev_sample=latents) if return_dict else (latents,)
