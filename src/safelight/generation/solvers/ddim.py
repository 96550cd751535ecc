"""DDIM, DDPM and PLMS: split latents into the clean image and noise, and combine them at the next noise level.

diffusers' versions step by a fixed stride of timesteps, which matches one spacing only; these step between any two
noise levels.
"""

from __future__ import annotations

import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from safelight.generation.solvers.diffusion import (
    Device,
    GeneratorArgument,
    SigmaGridMixin,
    StepOutput,
    step_output,
)


class DDIMBase(SigmaGridMixin, DPMSolverMultistepScheduler):
    """Base of the DDIM solvers: splits latents into clean image and noise and combines them at the next level."""

    def final_sigma(self, last_sigma: float) -> float:
        """0, or the lowest trained sigma if the checkpoint's config ends there (``set_alpha_to_one: false``)."""
        assert self.grid is not None
        first = float(self.grid.trained_sigmas[0])
        return (
            first
            if self.config.get("set_alpha_to_one", True) is False and last_sigma > first * 1.001
            else 0.0
        )

    def init_step_index(self, timestep: Tensor) -> None:
        """Set the step index at the first step of a run, which need not start at the first timestep."""
        if self.step_index is None:
            self._init_step_index(timestep)

    def predict_clean_and_noise(self, model_output: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted clean latents (clipped if the checkpoint's config says so) and the predicted noise."""
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        clean = self.convert_model_output(model_output, sample=sample.to(torch.float32))
        if self.config.get("clip_sample", False):
            limit = self.config.get("clip_sample_range", 1.0)
            clean = clean.clamp(-limit, limit)
        return clean, (sample - alpha * clean) / sigma

    def ddim_step(
        self, model_output: Tensor, sample: Tensor, eta: float, generator: GeneratorArgument
    ) -> Tensor:
        """Take one DDIM step (Song et al., 2020, equation 12)."""
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        next_alpha, next_sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + 1])
        clean, noise = self.predict_clean_and_noise(model_output, sample)
        fresh = eta * next_sigma / sigma * (1 - (alpha / next_alpha) ** 2).sqrt()
        moved = next_alpha * clean + (next_sigma**2 - fresh**2).sqrt() * noise
        if eta > 0:
            moved = moved + fresh * randn_tensor(sample.shape, generator, sample.device, sample.dtype)
        self._step_index += 1
        return moved.to(model_output.dtype)


class DDIM(DDIMBase):
    """Denoising diffusion implicit models (Song et al., 2020), between any two noise levels."""

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: GeneratorArgument = None,
        return_dict: bool = True,
    ) -> StepOutput:
        """Take one step.

        Args:
            model_output: The network's prediction.
            timestep: The timestep of that prediction.
            sample: The current latents.
            eta: Fraction of DDPM's noise to add, 0 to 1.
            generator: Source of that noise.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        self.init_step_index(timestep)
        return step_output(self.ddim_step(model_output, sample, eta, generator), return_dict)


class DDPM(DDIMBase):
    """Ancestral sampling (Ho et al., 2020, algorithm 2, small variance): DDIM's step with eta 1."""

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
            generator: Source of the noise.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        self.init_step_index(timestep)
        return step_output(self.ddim_step(model_output, sample, 1.0, generator), return_dict)


class PLMS(DDIMBase):
    """Pseudo linear multistep (Liu et al., 2022), with lower-order steps as warm-up (iPNDM: Zhang & Chen, 2022).

    The paper's warm-up calls the network more than once in each of the first steps. That does not work for a run that
    starts in the middle: with diffusers' version such a run ends one step short.
    """

    ORDER_WEIGHTS = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))

    def set_timesteps(self, num_inference_steps: int, device: Device = None) -> None:
        """See ``SigmaGridMixin.set_timesteps``."""
        super().set_timesteps(num_inference_steps, device)
        self.noise_predictions: list[Tensor] = []

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> StepOutput:
        """Take one step along a weighted mean of up to four noise predictions.

        Args:
            model_output: The network's prediction.
            timestep: The timestep of that prediction.
            sample: The current latents.
            return_dict: Whether to return a ``SchedulerOutput`` or a tuple.
        """
        self.init_step_index(timestep)
        self.noise_predictions = [
            self.predict_clean_and_noise(model_output, sample)[1],
            *self.noise_predictions[:3],
        ]
        weights = self.ORDER_WEIGHTS[len(self.noise_predictions) - 1]
        noise = torch.stack(
            [weight * each for weight, each in zip(weights, self.noise_predictions, strict=True)]
        ).sum(0)
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        next_alpha, next_sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + 1])
        moved = next_alpha * (sample - sigma * noise) / alpha + next_sigma * noise
        self._step_index += 1
        return step_output(moved.to(model_output.dtype), return_dict)
