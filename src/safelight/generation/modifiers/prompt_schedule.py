"""Prompt schedules: the embeddings of each row follow the prompts from step to step."""

from __future__ import annotations

from torch import Tensor

from safelight.generation.conditioning import EncoderCall
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Encode, Modifier, Phases, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.generation.prompts import parse_prompt
from safelight.generation.prompts.inversions import with_plain_names
from safelight.generation.prompts.schedule import is_scheduled
from safelight.plugins import Registry, hookimpl


class PromptSchedule(Modifier):
    """Replaces the embeddings, which the pipeline keeps from the first step on, by those of the current step."""

    def __init__(self) -> None:
        self._phases: Phases = ()

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        """Keep the phases."""
        self._phases = encode(call)
        return self._phases

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """Condition each row on the current phase."""
        if len(self._phases) < 2:
            return compute(call)
        phase = [phase for phase in self._phases if phase.first_step <= call.step][-1]
        conditioning = {Role.NEGATIVE: phase.negative, Role.POSITIVE: phase.positive}
        return compute(call.condition([conditioning[role] for role in call.roles]))


def _build(context: PassContext) -> PromptSchedule | None:
    texts = map(with_plain_names, context.prompts.texts)
    return PromptSchedule() if any(is_scheduled(parse_prompt(text)) for text in texts) else None


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register prompt schedules."""
    registry.register("prompt-schedule", ModifierFactory(Layer.CONDITIONING, _build))
