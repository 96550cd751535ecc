"""Solvers for flow-matching checkpoints: x = (1 - sigma) * x0 + sigma * noise, with sigma from 1 to 0.

The sigmas follow the checkpoint: its shift, its dynamic shift by image size (mu), and its pipeline's spacing. Every
solver here accepts the arguments that flow pipelines pass to ``set_timesteps`` (sigmas, mu) and implements the
``scale_noise`` method they call; most of diffusers' solvers do neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from diffusers import (
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    LTXEulerAncestralRFScheduler,
)
from torch import Tensor

from safelight.errors import SamplerIncompatibleError
from safelight.generation.solvers.diffusion import (
    CorrectedDEIS,
    CorrectedMultistep,
    CorrectedSASolver,
    CorrectedUniPC,
    Device,
)
from safelight.generation.solvers.sigmas import AUTOMATIC, Levels, beta_quantiles

Spacing: TypeAlias = Sequence[float] | Levels
FIRST_LOG_SNR_SIGMA = 1 - 1e-4
"""First sigma of solvers that work in log SNR: at sigma 1 the log SNR is minus infinity."""


class FlowGrid:
    """The sigmas and timesteps of one run on a flow-matching checkpoint.

    Args:
        config: The checkpoint's scheduler configuration.
        schedule: One of ``FLOW_SCHEDULES``.
        open_end: Whether the scheduler's own even spacing stops one level early (see ``sigmas.SigmaGrid``).
    """

    def __init__(
        self, config: Mapping[str, Any], schedule: str = AUTOMATIC, *, open_end: bool = False
    ) -> None:
        own = {key: value for key, value in config.items() if key not in ("use_flow_sigmas", "flow_shift")}
        self._scheduler = FlowMatchEulerDiscreteScheduler.from_config(
            own | {"shift": config.get("shift", config.get("flow_shift", 1.0))},
            use_karras_sigmas=schedule == "karras",
            use_exponential_sigmas=schedule == "exponential",
            use_beta_sigmas=False,
            stochastic_sampling=False,
        )
        self._schedule = schedule
        self._trained = int(self._scheduler.config.num_train_timesteps)
        # A checkpoint whose own scheduler works in log SNR also uses that scheduler's spacing.
        self._open_end = open_end or not str(config.get("_class_name", "FlowMatch")).startswith("FlowMatch")

    def levels(
        self, steps: int, sigmas: Spacing | None, mu: float | None, *, unshifted_timesteps: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the sigmas, including the final one, and the timesteps of all sigmas but the final one.

        Args:
            steps: Number of steps.
            sigmas: The pipeline's unshifted spacing; used with the automatic schedule.
            mu: Log of the shift, for checkpoints that shift by image size.
            unshifted_timesteps: Whether the network expects timesteps from before the shift, as CogView4's does.

        Raises:
            SamplerIncompatibleError: The schedule has sigmas that no unshifted timestep corresponds to.
        """
        base = self._unshifted(steps, sigmas)
        self._scheduler.set_timesteps(steps, sigmas=None if base is None else list(base), mu=mu)
        if not unshifted_timesteps:
            return self._scheduler.sigmas, self._scheduler.timesteps
        if base is None or self._schedule in ("karras", "exponential"):
            raise SamplerIncompatibleError(
                f"The sigma schedule {self._schedule!r} does not fit a checkpoint that expects unshifted timesteps."
            )
        return self._scheduler.sigmas, torch.tensor(np.asarray(base) * self._trained, dtype=torch.float32)

    def _unshifted(self, steps: int, sigmas: Spacing | None) -> Spacing | None:
        last = 1 / self._trained
        if self._schedule == AUTOMATIC:
            return np.linspace(1, last, steps + 1)[:-1] if sigmas is None and self._open_end else sigmas
        if self._schedule == "sgm-uniform":
            return np.linspace(1, 0, steps + 1)[:-1]
        if self._schedule == "beta":
            return last + beta_quantiles(steps) * (1 - last)
        return np.linspace(1, last, steps)  # karras and exponential run between its ends


class FlowGridMixin:
    """Mixin for solvers whose sigmas and timesteps come from a ``FlowGrid``."""

    grid: FlowGrid
    first_sigma: ClassVar[float] = FIRST_LOG_SNR_SIGMA
    base_arguments: ClassVar[Mapping[str, Any]] = {}

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Device = None,
        sigmas: Spacing | None = None,
        mu: float | None = None,
        timesteps: Spacing | None = None,
    ) -> None:
        """Reset the solver's state and set the sigmas and timesteps of a run.

        Args:
            num_inference_steps: Number of steps; the number of sigmas by default.
            device: The network's device.
            sigmas: The pipeline's spacing, before any shift.
            mu: Log of the shift, for checkpoints that shift by image size.
            timesteps: Passed by pipelines whose network expects timesteps from before any shift; the values are those
                that belong to ``sigmas``.
        """
        steps = num_inference_steps or (0 if sigmas is None else len(sigmas))
        super().set_timesteps(steps, device=device, **self.base_arguments)  # type: ignore[misc]
        levels, times = self.grid.levels(steps, sigmas, mu, unshifted_timesteps=timesteps is not None)
        self.set_levels(levels.clamp(max=self.first_sigma), times.to(device))

    def set_levels(self, sigmas: Tensor, timesteps: Tensor) -> None:
        """Store the sigmas, including the final one, and their timesteps."""
        self.sigmas, self.timesteps = sigmas, timesteps

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """Add noise to clean latents, up to the sigma at which the run starts.

        Args:
            sample: Clean latents.
            timestep: One of ``timesteps`` for each image.
            noise: Standard normal noise of the same shape.
        """
        begin = self.begin_index if self.step_index is None else self.step_index  # type: ignore[attr-defined]
        if begin is None:
            begin = int((self.timesteps == timestep.flatten()[0].to(self.timesteps.device)).nonzero()[0])
        sigma = self.sigmas[begin].to(sample.device, sample.dtype)
        return sigma * noise + (1 - sigma) * sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Call ``scale_noise`` with the argument order of diffusion pipelines."""
        return self.scale_noise(original_samples, timesteps, noise)

    def _sigma_to_alpha_sigma_t(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - sigma, sigma


class FlowEuler(FlowGridMixin, FlowMatchEulerDiscreteScheduler):
    """Euler's method."""

    first_sigma = 1.0
    base_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowEulerAncestral(FlowGridMixin, LTXEulerAncestralRFScheduler):
    """Euler's method with ancestral noise for rectified flow."""

    first_sigma = 1.0
    base_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowHeun(FlowGridMixin, FlowMatchHeunDiscreteScheduler):
    """Heun's method: two network calls per step."""

    first_sigma = 1.0

    def set_levels(self, sigmas: Tensor, timesteps: Tensor) -> None:
        """Store the sigmas and timesteps; every sigma but the first and the last is visited twice."""
        self.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        self.timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])


class FlowLCM(FlowGridMixin, FlowMatchLCMScheduler):
    """Latent consistency: predict the clean image and add noise to it again."""

    first_sigma = 1.0
    base_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowDPMppMultistep(FlowGridMixin, CorrectedMultistep):
    """DPM-Solver++, multistep."""


class FlowDPMppSinglestep(FlowGridMixin, DPMSolverSinglestepScheduler):
    """DPM-Solver++, singlestep."""


class FlowUniPC(FlowGridMixin, CorrectedUniPC):
    """Unified predictor-corrector."""

    base_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowDEIS(FlowGridMixin, CorrectedDEIS):
    """Exponential integrator in log rho."""


class FlowSASolver(FlowGridMixin, CorrectedSASolver):
    """Stochastic Adams predictor-corrector."""
