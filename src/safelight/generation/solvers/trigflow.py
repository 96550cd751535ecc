"""The solver of checkpoints that were distilled to a continuous-time consistency model (Lu and Song, 2024)."""

from __future__ import annotations

from typing import Any

from diffusers import SCMScheduler

MIDDLE_OF_TWO = 1.3
"""The second of two timesteps, for which Sana Sprint was trained."""


class SCM(SCMScheduler):
    """Multistep consistency sampling; the timesteps are angles from pi/2, which is noise, down to 0."""

    def set_timesteps(
        self,
        num_inference_steps: int,
        timesteps: Any = None,
        device: Any = None,
        max_timesteps: float | None = None,
        intermediate_timesteps: float | None = None,  # noqa: ARG002  pipelines pass it for two steps only
    ) -> None:
        """Spread the timesteps evenly; two have the place for which the checkpoint was trained."""
        middle = MIDDLE_OF_TWO if num_inference_steps == 2 else None
        super().set_timesteps(num_inference_steps, timesteps, device, max_timesteps, middle)
