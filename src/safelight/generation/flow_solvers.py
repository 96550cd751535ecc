"""The steps a sampler takes on a flow-matching checkpoint: x = (1 - sigma) * x0 + sigma * noise, sigma from 1 to 0.

The levels are the checkpoint's own: its shift, its dynamic shift by picture size (mu), its pipeline's spacing. Every
solver here takes what flow pipelines pass to ``set_timesteps`` (sigmas, mu) and answers their ``scale_noise``; most of
diffusers' solvers do neither.
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

from safelight.errors import SamplerUnfitError
from safelight.generation.sigmas import AUTOMATIC, Levels, beta_quantiles
from safelight.generation.solvers import (
    Device,
    RepairedDEIS,
    RepairedMultistep,
    RepairedSASolver,
    RepairedUniPC,
)

Spacing: TypeAlias = Sequence[float] | Levels
NEARLY_ALL_NOISE = 1 - 1e-4
"""Where solvers in log SNR begin: at sigma 1 the log SNR is minus infinity."""


class FlowGrid:
    """The levels of one run on a flow-matching checkpoint.

    Args:
        config: The checkpoint's own scheduler configuration.
        schedule: One of ``FLOW_SCHEDULES``.
        open_end: Whether the scheduler's own even spacing stops one level early (``sigmas.Grid``).
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
        # Where the checkpoint's own scheduler is one in log SNR, so is its spacing.
        self._open_end = open_end or not str(config.get("_class_name", "FlowMatch")).startswith("FlowMatch")

    def levels(
        self, steps: int, sigmas: Spacing | None, mu: float | None, *, unshifted_times: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Sigmas with the final one, and the timesteps that belong to all but it.

        Args:
            steps: Number of steps.
            sigmas: The pipeline's unshifted spacing; used where the schedule is automatic.
            mu: Log of the shift where the checkpoint shifts by picture size.
            unshifted_times: Whether the network is told the time before the shift, as CogView4's is.

        Raises:
            SamplerUnfitError: The schedule makes levels that no unshifted time belongs to.
        """
        base = self._unshifted(steps, sigmas)
        self._scheduler.set_timesteps(steps, sigmas=None if base is None else list(base), mu=mu)
        if not unshifted_times:
            return self._scheduler.sigmas, self._scheduler.timesteps
        if base is None or self._schedule in ("karras", "exponential"):
            raise SamplerUnfitError(
                f"The sigma schedule {self._schedule!r} does not fit this checkpoint, which is told unshifted times."
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


class OnFlowGrid:
    """A solver whose levels are a flow grid's."""

    grid: FlowGrid
    first_sigma: ClassVar[float] = NEARLY_ALL_NOISE
    reset_arguments: ClassVar[Mapping[str, Any]] = {}

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Device = None,
        sigmas: Spacing | None = None,
        mu: float | None = None,
        timesteps: Spacing | None = None,
    ) -> None:
        """Forget the run before, and place the steps.

        Args:
            num_inference_steps: Number of steps; that of the sigmas when not given.
            device: Where the network runs.
            sigmas: The pipeline's own spacing, before any shift.
            mu: Log of the shift where the checkpoint shifts by picture size.
            timesteps: Given where the network is told the time before any shift; it is that of the sigmas.
        """
        steps = num_inference_steps or (0 if sigmas is None else len(sigmas))
        super().set_timesteps(steps, device=device, **self.reset_arguments)  # type: ignore[misc]
        levels, times = self.grid.levels(steps, sigmas, mu, unshifted_times=timesteps is not None)
        self.place(levels.clamp(max=self.first_sigma), times.to(device))

    def place(self, sigmas: Tensor, timesteps: Tensor) -> None:
        """Take levels, with the final one, and their timesteps."""
        self.sigmas, self.timesteps = sigmas, timesteps

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """Noise a clean picture to the level where the run begins.

        Args:
            sample: Clean latents.
            timestep: One of ``timesteps``, for each picture.
            noise: Unit noise of the same shape.
        """
        begin = self.begin_index if self.step_index is None else self.step_index  # type: ignore[attr-defined]
        if begin is None:
            begin = int((self.timesteps == timestep.flatten()[0].to(self.timesteps.device)).nonzero()[0])
        sigma = self.sigmas[begin].to(sample.device, sample.dtype)
        return sigma * noise + (1 - sigma) * sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``scale_noise`` in the order of arguments that diffusion pipelines use."""
        return self.scale_noise(original_samples, timesteps, noise)

    def _sigma_to_alpha_sigma_t(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - sigma, sigma


class FlowEuler(OnFlowGrid, FlowMatchEulerDiscreteScheduler):
    """Euler's method."""

    first_sigma = 1.0
    reset_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowEulerAncestral(OnFlowGrid, LTXEulerAncestralRFScheduler):
    """Euler's method with ancestral noise for rectified flow."""

    first_sigma = 1.0
    reset_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowHeun(OnFlowGrid, FlowMatchHeunDiscreteScheduler):
    """Heun's method: two network calls a step."""

    first_sigma = 1.0

    def place(self, sigmas: Tensor, timesteps: Tensor) -> None:
        """Every level but the first and the last is visited twice."""
        self.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        self.timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])


class FlowLCM(OnFlowGrid, FlowMatchLCMScheduler):
    """Latent consistency: predict the clean picture and noise it anew."""

    first_sigma = 1.0
    reset_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowDPMppMultistep(OnFlowGrid, RepairedMultistep):
    """DPM-Solver++, multistep."""


class FlowDPMppSinglestep(OnFlowGrid, DPMSolverSinglestepScheduler):
    """DPM-Solver++, single step."""


class FlowUniPC(OnFlowGrid, RepairedUniPC):
    """Unified predictor-corrector."""

    reset_arguments: ClassVar[Mapping[str, Any]] = {"mu": 1.0}


class FlowDEIS(OnFlowGrid, RepairedDEIS):
    """Exponential integrator in log rho."""


class FlowSASolver(OnFlowGrid, RepairedSASolver):
    """Stochastic Adams predictor-corrector."""
