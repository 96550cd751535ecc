"""Adapters: LoRAs and other files that change the weights of the denoiser and the text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from safelight.generation.adapters.files import ADAPTERS, AdapterInUse, adapter_source, used_adapters
from safelight.generation.adapters.strength import Strength, parse_strength
from safelight.generation.modifiers.denoiser_call import DenoiserCall
from safelight.generation.modifiers.modifier import Modifier, Predict
from safelight.generation.modifiers.registry import Layer, ModifierFactory, NetworkContext, PassContext
from safelight.generation.request import Adapter
from safelight.plugins import Registry, hookimpl
from safelight.runtime.changed_weights import Keep, WeightDelta, WeightPatch, keep_nothing
from safelight.runtime.component import Component, ComponentSource

MAX_KEPT = 2
"""Of how many different strengths of a pass the changed weights are kept: each takes as much memory as the network."""
UNPACKED_NOTE = "Weights that are packed were unpacked for adapters, one layer at a time."
_GROUPS = ("down_blocks.", "mid_block.", "up_blocks.")
"""How the parameters of a U-Net's input, middle and output blocks begin."""


@dataclass(frozen=True)
class _Active:
    """An adapter of a picture.

    Args:
        adapter: Its name and strengths.
        used: Its changes.
    """

    adapter: Adapter
    used: AdapterInUse

    @cached_property
    def text_encoder(self) -> float:
        """Its strength in the text encoders, which read the prompt before the first step."""
        given = self.adapter.text_encoder
        return parse_strength(self.adapter.strength if given is None else given).at(0, 1)

    @cached_property
    def groups(self) -> tuple[Strength, ...]:
        """Its strengths in the denoiser: of the three groups of blocks, and of everything else."""
        adapter = self.adapter
        own = adapter.strength if adapter.denoiser is None else adapter.denoiser
        blocks = (adapter.input_blocks, adapter.middle_block, adapter.output_blocks)
        return tuple(parse_strength(own if each is None else each) for each in (*blocks, own))

    def at(self, step: int, steps: int) -> tuple[float, ...]:
        """Its strengths in the denoiser at a step, as ``groups``."""
        return tuple(each.at(step, steps) for each in self.groups)


class Adapters(Modifier):
    """Changes the weights of the networks, by step where strengths are scheduled.

    Args:
        active: The picture's adapters.
        context: The pass.
    """

    def __init__(self, active: tuple[_Active, ...], context: PassContext) -> None:
        self._active, self._context = active, context
        self._denoiser = context.loaded.family.denoiser
        steps = range(context.steps)
        self._strengths = [tuple(each.at(step, context.steps) for each in active) for step in steps]
        self._keeps = len(set(self._strengths)) <= MAX_KEPT
        self._patches: dict[tuple[tuple[float, ...], ...], WeightPatch | None] = {}
        encoders = {
            name: self._text_encoder_patch(name)
            for name in context.loaded.family.text_encoders
            if name in context.loaded.networks
        }
        self.patches = {name: (patch,) for name, patch in encoders.items() if patch is not None}

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]  # it is known when the pass has ended
        """What of the adapters had no effect, and what they cost."""
        patches = [*(each for own in self.patches.values() for each in own), *self._patches.values()]
        unpacked = any(isinstance(each, WeightPatch) and each.unpacked for each in patches)
        return (*_notes(self._active), *([UNPACKED_NOTE] if unpacked else []))

    def predict(self, call: DenoiserCall, compute: Predict) -> Tensor:
        """Compute with the weights of the step."""
        strengths = self._strengths[min(call.step, len(self._strengths) - 1)]
        if strengths not in self._patches:
            self._patches[strengths] = self._denoiser_patch(strengths)
        patch = self._patches[strengths]
        if patch is None:
            return compute(call)
        patch.prepare(self._context.loaded.denoiser.network)
        return compute(call.patch(patch))

    def _denoiser_patch(self, strengths: tuple[tuple[float, ...], ...]) -> WeightPatch | None:
        return self._patch(
            self._denoiser,
            [
                {path: own[_group(path)] for path in each.used.loaded.changes.get(self._denoiser, {})}
                for each, own in zip(self._active, strengths, strict=True)
            ],
            strengths,
            self._context.keep if self._keeps else keep_nothing,
        )

    def _text_encoder_patch(self, name: str) -> WeightPatch | None:
        return self._patch(
            name,
            [
                dict.fromkeys(each.used.loaded.changes.get(name, {}), each.text_encoder)
                for each in self._active
            ],
            tuple((each.text_encoder,) for each in self._active),
            keep_nothing,  # it is called once or twice for a picture
        )

    def _patch(
        self,
        component: str,
        by_adapter: list[dict[str, float]],
        strengths: tuple[tuple[float, ...], ...],
        keep: Keep,
    ) -> WeightPatch | None:
        """The patch of a component; None if nothing changes in it.

        Args:
            component: Its name.
            by_adapter: The strength for each parameter, by adapter.
            strengths: The strengths of each adapter, for the patch's identity.
            keep: Keeps the changed weights.
        """
        deltas: dict[str, list[tuple[WeightDelta, float]]] = {}
        for each, own in zip(self._active, by_adapter, strict=True):
            changes = each.used.loaded.changes.get(component, {})
            for path, strength in own.items():
                if strength:
                    deltas.setdefault(path, []).append((changes[path], strength))
        if not deltas:
            return None
        said = (
            f"{each.used.loaded.digest}@{','.join(map(repr, own))}"
            for each, own in zip(self._active, strengths, strict=True)
            if component in each.used.loaded.changes and any(own)
        )
        key = self._context.loaded.networks[component].key
        return WeightPatch(f"adapters {' '.join(said)}", deltas, key, keep)


def _group(path: str) -> int:
    """Which of an adapter's strengths a parameter of the denoiser has."""
    return next((index for index, start in enumerate(_GROUPS) if path.startswith(start)), len(_GROUPS))


def _notes(active: tuple[_Active, ...]) -> list[str]:
    """What of the adapters had no effect."""
    found = []
    for each in active:
        loaded = each.used.loaded
        if loaded.unmatched:
            names = ", ".join(loaded.unmatched[:3]) + (" …" if loaded.unmatched[3:] else "")
            count = loaded.matched + len(loaded.unmatched)
            found.append(
                f"{len(loaded.unmatched)} of the {count} layers of the adapter {each.used.name} match nothing in this "
                f"checkpoint and had no effect: {names}."
            )
    return found


def _networks(context: NetworkContext) -> Mapping[str, ComponentSource]:
    names = {each.name for each in used_adapters(context.plan, context.settings.home)}
    return {
        name: adapter_source(name, context.parts, context.networks, context.settings, context.digests)
        for name in sorted(names)
    }


def _build(context: PassContext) -> Adapters | None:
    adapters = context.prompts.adapters
    if not adapters:
        return None
    return Adapters(tuple(_Active(each, _in_use(context.networks[each.name])) for each in adapters), context)


def _in_use(component: Component) -> AdapterInUse:
    used: Any = component.network
    assert isinstance(used, AdapterInUse)
    return used


@hookimpl
def register_modifiers(registry: Registry[ModifierFactory]) -> None:
    """Register adapters."""
    registry.register(ADAPTERS, ModifierFactory(Layer.NETWORK, _build, _networks))
