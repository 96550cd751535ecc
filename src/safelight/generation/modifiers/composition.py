"""Composed prompts (AND) and regions: a prediction for each part, joined by weights and masks.

What a part adds to the negative prompt's prediction counts with its weight (composable diffusion, Liu et al., 2022),
so the prompt's prediction becomes negative + sum(weight * (part - negative)), and the pipeline guides by that as by any
other.
In a region its own prediction takes the place of the prompt's, as much as its mask says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from safelight.generation.conditioning import EncoderCall
from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role
from safelight.generation.modifiers.modifier import Encode, FirstCalls, Modifier, Phases, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, PassContext
from safelight.generation.prompts import parse_prompt, plain_text
from safelight.generation.prompts.encode import ConditioningPhase
from safelight.generation.regions import Mask, shares, spread
from safelight.models.families import Family
from safelight.plugins import Registry, hookimpl

Arguments = Mapping[str, object]


class Composition(Modifier):
    """Computes the prompt's row once for each part and each region.

    At most as many rows as the call has are computed at a time, so that they take no more memory.

    Args:
        texts: The prompts of the parts, then those of the regions.
        weights: Of the parts.
        masks: How much each region counts in each pixel of the pass, 0 to 1 together.
        family: The checkpoint's.
    """

    def __init__(
        self, texts: Sequence[str], weights: Sequence[float], masks: Sequence[Mask], family: Family
    ) -> None:
        self._texts, self._weights, self._masks = tuple(texts), tuple(weights), tuple(masks)
        self._family = family
        self._phases: list[Phases] = []
        self._arguments: list[Arguments] = []
        self._negative_arguments: Arguments | None = None
        self._negative: Tensor | None = None

    def encode(self, call: EncoderCall, encode: Encode) -> Phases:
        """Encode each part, and keep the embeddings."""
        others = (*call.others, *self._texts)
        self._phases = [
            encode(replace(call, prompts=replace(call.prompts, prompt=text), others=others))
            for text in self._texts
        ]
        return self._phases[0]

    def begin(self, first_calls: FirstCalls) -> None:
        """For families whose pipelines encode text themselves: what each part becomes in a call."""
        if any(self._phases):
            return
        calls = [first_calls(plain_text(parse_prompt(text), 0, 1)) for text in self._texts]
        rows = [first.take([first.roles.index(Role.POSITIVE)]) for first, *_ in calls]
        self._arguments = [_differences(row, rows[0]) for row in rows]
        for negative in calls[0][1:]:
            self._negative_arguments = _differences(negative.take([0]), rows[0])

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction, in which the prompt's row is that of all parts and regions."""
        if Role.POSITIVE not in call.roles:  # with separate guidance the negative prompt's call comes second
            known, self._negative = self._negative, None
            return compute(call) if known is None else known
        calls = enumerate(self._calls(call))
        rows = torch.cat([self._computed(replace(each, group=number), compute) for number, each in calls])
        negative = rows[: -len(self._texts)]
        parts = rows[len(negative) :]
        other = self._negative_arguments
        if not len(negative) and other is not None and sum(self._weights) != 1:
            # With separate guidance it comes in a later call, but the sum needs it now.
            negative = self._negative = self._computed(self._row(call, 0, other, Role.NEGATIVE), compute)
        joined = self._join(parts, negative if len(negative) else None)
        if Role.NEGATIVE not in call.roles:
            return joined
        return torch.cat([negative if role is Role.NEGATIVE else joined for role in call.roles])

    def _computed(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """The prediction of a call, without what some networks return for words, whose number differs."""
        prediction = compute(call)
        return prediction[:, -call.latents.shape[1] :] if self._family.latents_last else prediction

    def _calls(self, call: DenoiserCall) -> list[DenoiserCall]:
        """The calls: with the negative prompt's row first, if there is one, then the parts' and the regions'."""
        positive = call.roles.index(Role.POSITIVE)
        negative = [row for row, role in enumerate(call.roles) if role is Role.NEGATIVE]
        if self._arguments:
            parts = [self._row(call, positive, arguments, Role.POSITIVE) for arguments in self._arguments]
            return [*(call.take([row]) for row in negative), *parts]  # their arguments may differ in length
        found = [_at(phases, call.step) for phases in self._phases]
        whole = call.take([*negative, *[positive] * len(found)])
        whole = whole.condition([*(found[0].negative for _ in negative), *(each.positive for each in found)])
        most = len(call.roles)
        return [whole.take(slice(row, row + most)) for row in range(0, len(whole.roles), most)]

    @staticmethod
    def _row(call: DenoiserCall, row: int, arguments: Arguments, role: Role) -> DenoiserCall:
        return replace(call.take([row]).add(**arguments), roles=(role,))

    def _join(self, parts: Tensor, negative: Tensor | None) -> Tensor:
        """The prompt's prediction, (1, ...).

        Args:
            parts: Those of the parts and the regions, (rows, ...).
            negative: The negative prompt's, (1, ...); None in steps without guidance, which take the parts' mean.
        """
        count = len(self._weights)
        if count == 1:
            joined = parts[:1]
        elif negative is None:
            weighted = (parts[row : row + 1] * weight for row, weight in enumerate(self._weights))
            joined = torch.stack(list(weighted)).sum(0) / sum(self._weights)
        else:
            joined = negative
            for row, weight in enumerate(self._weights):
                joined = joined + weight * (parts[row : row + 1] - negative)
        if not self._masks:
            return joined
        masks = [spread(mask, joined, self._family) for mask in self._masks]
        whole = joined * (1 - torch.stack(masks).sum(0))
        for row, mask in enumerate(masks, count):
            whole = whole + mask * parts[row : row + 1]
        return whole


def _at(phases: Phases, step: int) -> ConditioningPhase:
    return [phase for phase in phases if phase.first_step <= step][-1]


def _differences(call: DenoiserCall, other: DenoiserCall) -> Arguments:
    """The arguments that differ from those of another prompt's call: what the prompt becomes."""
    latents = next(iter(call.arguments))
    return {
        name: value
        for name, value in call.arguments.items()
        if name != latents and not _same(value, other.arguments.get(name))
    }


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor):
        same_shape = isinstance(other, Tensor) and value.shape == other.shape
        return same_shape and torch.equal(value, other)
    if isinstance(value, dict):
        return (
            isinstance(other, dict)
            and value.keys() == other.keys()
            and all(_same(each, other[name]) for name, each in value.items())
        )
    if isinstance(value, list | tuple):
        return isinstance(other, list | tuple) and len(value) == len(other) and all(map(_same, value, other))
    return bool(value == other)


def _build(context: PassContext) -> Composition | None:
    prompts, plan = context.prompts, context.plan
    masks: Sequence[Mask] = ()
    texts: tuple[str, ...] = ()
    if plan.request.region_method == "prediction" and plan.request.regions:
        masks = shares(context.region_masks, [region.weight for region in plan.request.regions])
        texts = prompts.regions
    parts = prompts.parts
    if len(parts) == 1 and not texts:
        return None
    return Composition(
        [*(part.text for part in parts), *texts], [part.weight for part in parts], masks, plan.family
    )


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register composed prompts and regions."""
    registry.register("composition", ModifierFactory(Layer.GUIDANCE, _build))
