"""DDIM and its relatives: split latents into picture and noise, and put them together at the next level.

diffusers' own step by fixed strides of timesteps, which agrees with one spacing only; these go between any two levels.
"""

from __future__ import annotations

import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from safelight.generation.solvers import Device, Generators, OnGrid, Stepped, stepped


class BetweenLevels(OnGrid, DPMSolverMultistepScheduler):
    """What DDIM's relatives share: split latents into picture and noise, and put them together at the next level."""

    def final_sigma(self, last: float) -> float:
        """The first trained level where the checkpoint says that sampling ends there (set_alpha_to_one: false)."""
        assert self.grid is not None
        first = float(self.grid.trained[0])
        return first if self.config.get("set_alpha_to_one", True) is False and last > first * 1.001 else 0.0

    def begin(self, timestep: Tensor) -> None:
        """Find the place where the run begins, at its first step."""
        if self.step_index is None:
            self._init_step_index(timestep)

    def split(self, model_output: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """The clean latents the network predicts, clipped where the checkpoint wants it, and the noise beside them."""
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        clean = self.convert_model_output(model_output, sample=sample.to(torch.float32))
        if self.config.get("clip_sample", False):
            limit = self.config.get("clip_sample_range", 1.0)
            clean = clean.clamp(-limit, limit)
        return clean, (sample - alpha * clean) / sigma

    def ddim_step(self, model_output: Tensor, sample: Tensor, eta: float, generator: Generators) -> Tensor:
        """Equation 12 of Song et al., 2020."""
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        next_alpha, next_sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + 1])
        clean, noise = self.split(model_output, sample)
        fresh = eta * next_sigma / sigma * (1 - (alpha / next_alpha) ** 2).sqrt()
        moved = next_alpha * clean + (next_sigma**2 - fresh**2).sqrt() * noise
        if eta > 0:
            moved = moved + fresh * randn_tensor(sample.shape, generator, sample.device, sample.dtype)
        self._step_index += 1
        return moved.to(model_output.dtype)


class DDIM(BetweenLevels):
    """Denoising diffusion implicit models (Song et al., 2020), between any two levels."""

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Stepped:
        """One step.

        Args:
            model_output: What the network predicted.
            timestep: Where it did.
            sample: The latents.
            eta: Share of DDPM's noise to add, 0 to 1.
            generator: Where that noise comes from.
            return_dict: Whether to return an object or a tuple.
        """
        self.begin(timestep)
        return stepped(self.ddim_step(model_output, sample, eta, generator), return_dict)


class DDPM(BetweenLevels):
    """Ancestral sampling (Ho et al., 2020, algorithm 2, small variance), which is DDIM's step at eta 1."""

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
            generator: Where the noise comes from.
            return_dict: Whether to return an object or a tuple.
        """
        self.begin(timestep)
        return stepped(self.ddim_step(model_output, sample, 1.0, generator), return_dict)


class PLMS(BetweenLevels):
    """Pseudo linear multistep (Liu et al., 2022), warmed up by lower orders (iPNDM: Zhang & Chen, 2022).

    The paper's warm-up calls the network more than once for the first steps, which a run that begins in the middle
    cannot follow: diffusers' own leaves such a picture one step short.
    """

    WEIGHTS = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))

    def set_timesteps(self, num_inference_steps: int, device: Device = None) -> None:
        """See ``OnGrid.set_timesteps``."""
        super().set_timesteps(num_inference_steps, device)
        self.noises: list[Tensor] = []

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> Stepped:
        """One step along the mean of up to four noise predictions.

        Args:
            model_output: What the network predicted.
            timestep: Where it did.
            sample: The latents.
            return_dict: Whether to return an object or a tuple.
        """
        self.begin(timestep)
        self.noises = [self.split(model_output, sample)[1], *self.noises[:3]]
        weights = self.WEIGHTS[len(self.noises) - 1]
        noise = torch.stack([weight * each for weight, each in zip(weights, self.noises, strict=True)]).sum(0)
        alpha, sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])
        next_alpha, next_sigma = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + 1])
        moved = next_alpha * (sample - sigma * noise) / alpha + next_sigma * noise
        self._step_index += 1
        return stepped(moved.to(model_output.dtype), return_dict)
