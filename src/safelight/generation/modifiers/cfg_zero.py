"""CFG-Zero* (Fan et al., 2025, arXiv 2503.18886): classifier-free guidance for flow-matching checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.plugins import Registry, hookimpl


class CFGZero(Modifier):
    """Scales the negative prediction by its projection on the prompt's, and predicts zero in the first step.

    In the first step the network's prediction is less reliable than none.
    """

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The pair of predictions that the pipeline combines."""
        prediction = compute(call)
        if not call.is_pair:
            return prediction
        if call.step == 0:
            return torch.zeros_like(prediction)
        negative, positive = prediction[:1], prediction[1:]
        factor = _projection_factor(positive.float(), negative.float()).to(prediction.dtype)
        return torch.cat([negative * factor, positive])


def _projection_factor(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the factor that brings the negative prediction closest to the positive one (s in the paper)."""
    return (positive * negative).sum() / (negative.square().sum() + 1e-8)


def _build(context: PassContext) -> CFGZero | None:
    return CFGZero() if context.plan.request.guidance_method == "cfg-zero" else None


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register CFG-Zero*."""
    registry.register("cfg-zero", ModifierFactory(Layer.GUIDANCE, _build))
