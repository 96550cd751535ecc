"""Perturbed-attention guidance (PAG; Ahn et al., 2024, arXiv 2403.17377)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from diffusers.models import attention_processor
from torch import Tensor

from safelight.errors import UnsupportedError
from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict, both_rows
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.models.families import PerturbedAttention
from safelight.plugins import Registry, hookimpl


@dataclass(frozen=True)
class PerturbedProcessors:
    """A patch that computes the last row of a call with identity self-attention.

    Args:
        layers: A regular expression that the names of the perturbed layers contain.
        processor: The name of diffusers' attention processor.
        identity: Unique, because the processor expects the rows of one picture.
    """

    layers: str
    processor: str
    identity: str = field(default_factory=lambda: f"perturbed-attention:{uuid4().hex}")

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Replace the processors of the perturbed layers.

        Raises:
            UnsupportedError: The network has none.
        """
        layers = [
            module
            for name, module in network.named_modules()
            if isinstance(module, attention_processor.Attention)
            and not module.is_cross_attention
            and re.search(self.layers, name)
        ]
        if not layers:
            raise UnsupportedError(
                "This checkpoint's denoiser has no layer for perturbed-attention guidance."
            )
        processors = [layer.processor for layer in layers]
        perturbed = getattr(attention_processor, self.processor)()
        try:
            for layer in layers:
                layer.processor = perturbed
            yield
        finally:
            for layer, processor in zip(layers, processors, strict=True):
                layer.processor = processor


class PerturbedAttentionGuidance(Modifier):
    """Computes the prompt's row a second time with perturbed attention, and guides away from its prediction.

    Args:
        kind: The family's layers and processors.
        guidance_scale: The scale of classifier-free guidance.
        scale: The scale of perturbed-attention guidance.
        adaptive: Decrease of the scale per timestep, from 1000 down; the scale does not fall below 0.
    """

    def __init__(
        self, kind: PerturbedAttention, guidance_scale: float, scale: float, adaptive: float
    ) -> None:
        self._guidance_scale, self._scale, self._adaptive = guidance_scale, scale, adaptive
        self._guided = PerturbedProcessors(kind.layers, kind.guided)
        self._unguided = PerturbedProcessors(kind.layers, kind.unguided)

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The guided prediction for all rows."""
        scale = self._scale_at(call.timestep.flatten()[0])
        if call.is_pair:
            rows = compute(call.take([0, 1, 1]).patch(self._guided))
            negative, positive, perturbed = rows.chunk(3)
            guided = negative + self._guidance_scale * (positive - negative) + scale * (positive - perturbed)
            return both_rows(guided)
        positive, perturbed = compute(call.take([0, 0]).patch(self._unguided)).chunk(2)
        return positive + scale * (positive - perturbed)

    def _scale_at(self, timestep: Tensor) -> Tensor | float:
        if self._adaptive == 0:
            return self._scale
        return (self._scale - self._adaptive * (1000 - timestep)).clamp(min=0)


def _build(context: PassContext) -> PerturbedAttentionGuidance | None:
    plan, request = context.plan, context.plan.request
    if request.pag_scale == 0 or plan.family.pag is None:
        return None
    return PerturbedAttentionGuidance(
        plan.family.pag, plan.guidance_scale, request.pag_scale, request.pag_adaptive
    )


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register perturbed-attention guidance."""
    registry.register("perturbed-attention", ModifierFactory(Layer.GUIDANCE, _build))
