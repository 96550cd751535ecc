"""The guidance interval: classifier-free guidance in some of the steps only (Kynkäänniemi et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict, both_rows
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.plugins import Registry, hookimpl


@dataclass
class GuidanceInterval(Modifier):
    """Outside the interval only the prompt's row is computed.

    Args:
        start: Fraction of the steps before which guidance is off, 0 to 1.
        end: Fraction of the steps from which guidance is off again, 0 to 1.
    """

    start: float = 0.0
    end: float = 1.0

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prompt's prediction for both rows where guidance is off."""
        if not call.is_pair or self.start <= call.fraction < self.end:
            return compute(call)
        return both_rows(compute(call.take(slice(1, None))))


def _build(context: PassContext) -> GuidanceInterval | None:
    interval = GuidanceInterval(context.plan.request.guidance_start, context.plan.request.guidance_end)
    return None if interval == GuidanceInterval() else interval


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register the guidance interval."""
    registry.register("guidance-interval", ModifierFactory(Layer.GUIDANCE, _build))
