"""Soft inpainting: differential diffusion (Levin & Fried, 2023, arXiv 2306.00950).

A grey mask is a denoising strength for each pixel. Until a latent's strength is reached, the step begins with the
picture's own latent, with the noise of that step, in its place; from then on it is denoised like all others. So a
strength of one half changes a latent in the second half of the steps, as image-to-image does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class SoftInpainting:
    """Keeps the picture where its strength isn't reached yet, in one pass of a pipeline that blends.

    The pipelines for inpainting blend after each step by a mask that is black or white. They get that mask, white where
    there is any strength, and the rest is done here with their own noise and latents.

    Args:
        pipeline: The pipeline of this pass, with its scheduler.
        steps: Steps that run.
    """

    def __init__(self, pipeline: Any, steps: int) -> None:
        self._scheduler, self._steps = pipeline.scheduler, steps
        self._timesteps: Tensor
        self._noise: Tensor
        self._latents: Tensor
        self._strengths: Tensor
        pipeline.mask_processor.register_to_config(do_binarize=False)
        for name, keep in (
            ("get_timesteps", self._keep_timesteps),
            ("prepare_latents", self._keep_latents),
            ("prepare_mask_latents", self._keep_strengths),
        ):
            setattr(pipeline, name, _changed(getattr(pipeline, name), keep))

    def blend(self, latents: Tensor, calls: int) -> Tensor:
        """The latents that the next call begins with.

        Args:
            latents: What the scheduler's step returned, in the pipeline's layout.
            calls: Calls of the network so far; samplers of order 2 call it twice in a step.
        """
        if calls >= len(self._timesteps):
            return latents
        done = calls // self._scheduler.order / self._steps
        kept = 1 - self._strengths > done
        return torch.where(kept, self._noised(self._timesteps[calls : calls + 1]).to(latents.dtype), latents)

    def _noised(self, timestep: Tensor) -> Tensor:
        """The picture's latents with the noise of a timestep."""
        if hasattr(self._scheduler, "scale_noise"):
            noised: Tensor = self._scheduler.scale_noise(self._latents, timestep, self._noise)
        else:
            noised = self._scheduler.add_noise(self._latents, self._noise, timestep)
        return noised

    def _keep_timesteps(self, result: Any) -> Any:
        self._timesteps = result[0]
        return result

    def _keep_latents(self, result: Any) -> Any:
        """All pipelines return the initial latents, the noise and the picture's latents, in this order."""
        _, self._noise, self._latents, *_ = result
        return result

    def _keep_strengths(self, result: Any) -> Any:
        """The mask for the pipeline: white where there is any strength."""
        mask, *others = result if isinstance(result, tuple) else (result,)
        self._strengths = mask[:1].float()  # guidance doubles it
        marked = (mask > 0).to(mask.dtype)
        return (marked, *others) if isinstance(result, tuple) else marked


def _changed(function: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function whose result is changed."""

    @functools.wraps(function)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(function(*args, **kwargs))

    return changed
