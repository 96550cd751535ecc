"""The modifier: middleware around the text encoders and around each call of the denoiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from safelight.generation.conditioning import EncoderCall
from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.prompts.encode import ConditioningPhase
from safelight.runtime.component import Patch

Phases = Sequence[ConditioningPhase]
Encode = Callable[[EncoderCall], Phases]
Predict = Callable[[DenoiserCall], Tensor]
Patches = Mapping[str, tuple[Patch, ...]]
FirstCalls = Callable[[str], Sequence[DenoiserCall]]
"""The first calls of the denoiser for another prompt, for families whose pipelines encode text themselves: one, or with
separate guidance two, of which the second is the negative prompt's. They are not computed."""


class Modifier:
    """What changes one pass; the defaults change nothing. Each pass has its own, so that it may keep a state.

    Attributes:
        patches: Patches that are in effect for the whole pass, by component: the denoiser or a text encoder, as in
            ``Family.denoiser`` and ``Family.text_encoders``, or vae. Optional text encoders are not in every
            checkpoint: ``PassContext.loaded.networks`` has those that are.
        notes: What the record's fields do not say about its effect, for the record's notes.
    """

    patches: Patches = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        """Encode the prompts of a pass.

        Args:
            call: What to encode.
            encode: Encodes it, with the modifiers further in.

        Returns:
            Text embeddings by step; empty for families whose pipelines encode text themselves.
        """
        return encode(call)

    def begin(self, first_calls: FirstCalls) -> None:
        """Called once before the first step.

        Args:
            first_calls: Returns what another prompt becomes in the calls of the denoiser.
        """

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """Compute the prediction of one call of the denoiser.

        Args:
            call: The call.
            compute: Computes a call, with the modifiers further in; it may be called several times, or not at all.

        Returns:
            The prediction, (rows, ...), with the rows of the call.
        """
        return compute(call)


def encode_with(modifiers: Sequence[Modifier], call: EncoderCall, encode: Encode) -> Phases:
    """Encode the prompts of a pass; the first modifier is the outermost."""
    for modifier in reversed(modifiers):
        encode = partial(modifier.encode, encode=encode)
    return encode(call)


def predict_with(modifiers: Sequence[Modifier], call: DenoiserCall, compute: Predict) -> Tensor:
    """Compute the prediction of a call; the first modifier is the outermost."""
    for modifier in reversed(modifiers):
        compute = partial(modifier.predict, compute=compute)
    return compute(call)


def component_patches(modifiers: Sequence[Modifier], component: str) -> tuple[Patch, ...]:
    """The patches of a component that are in effect for the whole pass, in order."""
    return tuple(patch for modifier in modifiers for patch in modifier.patches.get(component, ()))


def both_rows(guided: Tensor) -> Tensor:
    """A guided prediction, (1, ...), as the rows of a pair, (2, ...).

    Pipelines add the scaled difference of the two rows, which is zero for equal rows.
    """
    return torch.cat([guided, guided])
