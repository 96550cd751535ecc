"""Guidance rescale, against overexposure (Lin et al., 2023, arXiv 2305.08891, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict, both_rows
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.plugins import Registry, hookimpl


@dataclass
class GuidanceRescale(Modifier):
    """Brings the guided prediction's standard deviation closer to that of the prompt's prediction.

    Args:
        scale: The guidance scale; 1 is no guidance.
        rescale: 0 changes nothing, 1 gives both the same standard deviation.
    """

    scale: float
    rescale: float

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The rescaled guided prediction for both rows."""
        prediction = compute(call)
        if not call.is_pair:
            return prediction
        negative, positive = prediction[:1], prediction[1:]
        guided = negative + self.scale * (positive - negative)
        # A prediction with twice the latents' channels has a learned variance in its second half.
        channels = call.latents.shape[1]
        noise = slice(0, channels if prediction.shape[1] == 2 * channels else None)
        deviation = guided[:, noise].std()
        # CFG-Zero*'s first prediction is all zeros: there is nothing to rescale.
        ratio = torch.where(deviation > 0, positive[:, noise].std() / deviation, 1)
        return both_rows(self.rescale * (guided * ratio) + (1 - self.rescale) * guided)


def _build(context: PassContext) -> GuidanceRescale | None:
    rescale = context.plan.request.guidance_rescale
    return GuidanceRescale(context.plan.guidance_scale, rescale) if rescale > 0 else None


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register guidance rescale."""
    registry.register("guidance-rescale", ModifierFactory(Layer.GUIDANCE, _build))
