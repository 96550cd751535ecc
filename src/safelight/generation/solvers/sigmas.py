"""Sigma schedules of diffusion checkpoints, computed with NumPy only: the noise levels that a run visits.

Sigma is k-diffusion's, the ratio of noise to signal: x = x0 + sigma * noise (Karras et al., 2022). A schedule is
either a spacing of the timesteps the network was trained on, or a curve between the smallest and the largest sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from safelight.errors import SamplerIncompatibleError

Levels = npt.NDArray[np.float64]

AUTOMATIC = "automatic"
_SPACINGS: Mapping[str, str] = MappingProxyType(
    {"normal": "linspace", "leading": "leading", "sgm-uniform": "trailing"}
)


@dataclass(frozen=True)
class SigmaGrid:
    """The noise levels of one run.

    Args:
        trained_sigmas: Sigma of each timestep the network was trained on, ascending.
        schedule: One of ``DIFFUSION_SCHEDULES``.
        spacing: The checkpoint's spacing, used by the automatic schedule: linspace, leading or trailing.
        steps_offset: Added to the timesteps of leading spacing.
        open_end: Whether linspace and leading spacing stop one level early. Otherwise the last step of a solver in log
            SNR would be many times as long as the one before it, and overshoot.
    """

    trained_sigmas: Levels
    schedule: str = AUTOMATIC
    spacing: str = "leading"
    steps_offset: int = 0
    open_end: bool = False

    def levels(self, steps: int) -> tuple[Levels, Levels]:
        """Return sigmas from noisy to clean, without the final zero, and their timesteps.

        Raises:
            SamplerIncompatibleError: There are more steps than trained timesteps.
        """
        if steps > len(self.trained_sigmas):
            raise SamplerIncompatibleError(
                f"{steps} steps are more than the {len(self.trained_sigmas)} the checkpoint was trained with."
            )
        if curve := CURVES.get(self.schedule):
            sigmas = curve(
                np.linspace(0, 1, steps), float(self.trained_sigmas[0]), float(self.trained_sigmas[-1])
            )
            return sigmas, self.to_timesteps(sigmas)
        timesteps = self._timesteps(steps)
        return self.to_sigmas(timesteps), timesteps

    def to_sigmas(self, timesteps: Levels) -> Levels:
        """Return sigma at timesteps, which need not be integers: interpolated in log sigma."""
        return np.exp(np.interp(timesteps, np.arange(len(self.trained_sigmas)), np.log(self.trained_sigmas)))

    def to_timesteps(self, sigmas: npt.ArrayLike) -> Levels:
        """Return the timesteps of sigmas, the inverse of ``to_sigmas``; values are clipped to the trained range."""
        logs = np.log(np.maximum(np.asarray(sigmas, dtype=np.float64), 1e-10))
        return np.interp(logs, np.log(self.trained_sigmas), np.arange(len(self.trained_sigmas)))

    def _timesteps(self, steps: int) -> Levels:
        if self.schedule == "beta":
            return beta_quantiles(steps) * (len(self.trained_sigmas) - 1)
        spacing = self.spacing if self.schedule == AUTOMATIC else _SPACINGS[self.schedule]
        if self.open_end and steps > 1 and spacing != "trailing":
            return spaced_timesteps(spacing, len(self.trained_sigmas), steps + 1, self.steps_offset)[:-1]
        return spaced_timesteps(spacing, len(self.trained_sigmas), steps, self.steps_offset)


def spaced_timesteps(spacing: str, trained_timesteps: int, steps: int, steps_offset: int) -> Levels:
    """Return timesteps from high to low in one of the spacings of Lin et al., 2023 (table 2).

    A single step always starts at the last timestep; leading spacing would start it at the first, with almost no noise.

    Args:
        spacing: linspace, leading or trailing.
        trained_timesteps: Number of timesteps in training.
        steps: Number of steps, 1 to trained.
        steps_offset: Added to leading timesteps.

    Raises:
        SamplerIncompatibleError: The spacing is unknown.
    """
    if spacing not in _SPACINGS.values():
        raise SamplerIncompatibleError(
            f"The checkpoint spaces its timesteps by {spacing!r}, which is not known."
        )
    if steps == 1:
        return np.array([trained_timesteps - 1.0])
    if spacing == "linspace":
        return np.linspace(trained_timesteps - 1, 0, steps)
    if spacing == "leading":
        leading: Levels = np.arange(steps, dtype=np.float64)[::-1] * max(trained_timesteps // steps, 1)
        leading += min(steps_offset, trained_timesteps - 1 - leading[0])
        return leading
    return np.round(trained_timesteps - np.arange(steps) * (trained_timesteps / steps)) - 1


def beta_quantiles(steps: int) -> Levels:
    """Return quantiles between 1 and 0, denser at both ends (Lee et al., 2024, "Beta sampling is all you need")."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(0.6, 0.6, 1 - np.arange(steps) / steps), dtype=np.float64)


def _karras(ramp: Levels, low: float, high: float, rho: float = 7.0) -> Levels:
    """The Karras schedule (Karras et al., 2022, equation 5)."""
    first, last = high ** (1 / rho), low ** (1 / rho)
    levels: Levels = (first + ramp * (last - first)) ** rho
    return levels


def _exponential(ramp: Levels, low: float, high: float) -> Levels:
    """Even steps in log sigma and so in log SNR; DPM-Solver calls it uniform lambda."""
    levels: Levels = np.exp(np.log(high) + ramp * np.log(low / high))
    return levels


def _kl_optimal(ramp: Levels, low: float, high: float) -> Levels:
    """The schedule that is optimal for Gaussian data (Sabour et al., 2024, "Align Your Steps", section 3.1)."""
    levels: Levels = np.tan((1 - ramp) * np.arctan(high) + ramp * np.arctan(low))
    return levels


CURVES: Mapping[str, Callable[[Levels, float, float], Levels]] = MappingProxyType(
    {"karras": _karras, "exponential": _exponential, "kl-optimal": _kl_optimal}
)
DIFFUSION_SCHEDULES = (AUTOMATIC, *_SPACINGS, *CURVES, "beta")
FLOW_SCHEDULES = (AUTOMATIC, "sgm-uniform", "karras", "exponential", "beta")
EDM_SCHEDULES = (AUTOMATIC, "karras", "exponential")
