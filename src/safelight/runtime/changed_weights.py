"""Weights that are changed while a network computes: a patch that adds to them, as a LoRA does.

The changed weights are computed once and kept beside the original ones, where there is memory for them: then a call
swaps them in, which takes microseconds. Elsewhere, and where weights are packed or copied block by block, each is
changed as its layer computes and let go of afterwards. Both compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.memory_plan.phases import in_memory
from safelight.runtime.quantization.tensor import QuantizedTensor

KEPT_FORM = "changed weights"
"""The form of a component that consists of the changed weights of another one."""


class WeightDelta(Protocol):
    """What is added to a weight."""

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """A new tensor of the weight's shape, in fp32.

        Args:
            weight: The original weight, in fp32.
            strength: 1 is the whole change.
        """


Deltas = Mapping[str, Sequence[tuple[WeightDelta, float]]]
"""What is added to each parameter, by its path, with its strength."""
Keep = Callable[[ComponentSource], Component | None]
"""Keeps something in memory until the picture ends; returns None where there is no room."""


def keep_nothing(_: ComponentSource) -> None:
    """A ``Keep`` without room."""


@dataclass(eq=False)
class WeightPatch:
    """A patch that adds to weights.

    Args:
        identity: See ``Patch``: equal for equal deltas.
        deltas: What is added.
        key: The network's key.
        keep: Keeps the changed weights.

    Attributes:
        unpacked: Whether weights were unpacked to be changed.
    """

    identity: str
    deltas: Deltas
    key: ComponentKey
    keep: Keep = keep_nothing
    unpacked: bool = field(default=False, init=False)
    _is_prepared: bool = field(default=False, init=False)
    _kept: Mapping[str, nn.Parameter] | None = field(default=None, init=False)
    _slots: tuple[object, list[tuple[dict[str, Any], str, nn.Parameter]]] | None = field(
        default=None, init=False
    )

    def prepare(self, network: Any) -> None:
        """Compute the changed weights and keep them, if there is room; the first call decides.

        Args:
            network: The network, or what stands in for it.
        """
        # In another form, weights are packed, or on the device only while they are used.
        if self._is_prepared or self.keep is keep_nothing or self.key.form:
            return
        self._is_prepared = True
        weights = dict(self._weights(in_memory(network)))
        if any(isinstance(each, QuantizedTensor) for each in weights.values()):
            return
        key = replace(self.key.patched([self]), form=KEPT_FORM)
        nbytes = sum(weight.nbytes for weight in weights.values())

        def load() -> Component:
            kept = {path: self._changed(path, weight) for path, weight in weights.items()}
            return Component(key, kept, nbytes)

        component = self.keep(ComponentSource(key, nbytes, load))
        self._kept = None if component is None else component.network

    @contextmanager
    def apply(self, network: Any) -> Iterator[None]:
        """Compute with the changed weights within the block."""
        self.prepare(network)
        if self._kept is None:
            with self._changing(network):
                yield
            return
        slots = self._slots_of(network, self._kept)
        originals = [tensors[name] for tensors, name, _ in slots]
        for tensors, name, changed in slots:
            tensors[name] = changed
        try:
            yield
        finally:
            for (tensors, name, _), original in zip(slots, originals, strict=True):
                tensors[name] = original

    def _slots_of(
        self, network: Any, kept: Mapping[str, nn.Parameter]
    ) -> list[tuple[dict[str, Any], str, nn.Parameter]]:
        """Where each changed weight belongs; found once."""
        if self._slots is None or self._slots[0] is not network:
            slots = []
            for path, changed in kept.items():
                owner, _, name = path.rpartition(".")
                slots.append((network.get_submodule(owner)._parameters, name, changed))
            self._slots = network, slots
        return self._slots[1]

    @contextmanager
    def _changing(self, network: Any) -> Iterator[None]:
        """Change each weight as its module computes."""
        with ExitStack() as stack:
            for module, slots in self._by_module(network).items():
                change = _ChangeWhileComputing(self, slots)
                # After the hooks that put a block's weights on the device, and before those that take them away.
                stack.enter_context(_removed_later(module.register_forward_pre_hook(change.enter)))
                stack.enter_context(
                    _removed_later(module.register_forward_hook(change.leave, prepend=True, always_call=True))
                )
            yield

    def _by_module(self, network: Any) -> dict[nn.Module, list[tuple[dict[str, Any], str, str]]]:
        """The parameters, their names and their paths, by the module that reads them when it is called."""
        found: dict[nn.Module, list[tuple[dict[str, Any], str, str]]] = {}
        for path in self.deltas:
            owner, _, name = path.rpartition(".")
            module = network.get_submodule(owner)
            reader = module
            if type(module) is NonDynamicallyQuantizableLinear:  # which attention reads without calling it
                reader = network.get_submodule(owner.rpartition(".")[0])
            found.setdefault(reader, []).append((module._parameters, name, path))
        return found

    def _weights(self, network: Any) -> Iterator[tuple[str, Tensor]]:
        for path in self.deltas:
            yield path, network.get_parameter(path)

    def _changed(self, path: str, weight: Tensor) -> nn.Parameter:
        """A weight with all that is added to it, in its own data type."""
        with torch.no_grad():
            if isinstance(weight, QuantizedTensor):
                self.unpacked, original = True, weight.dequantize(torch.float32)
            else:
                original = weight.detach().float()
            changed = original.clone()
            for each, strength in self.deltas[path]:
                changed += each.delta(original, strength)
            return nn.Parameter(changed.to(weight.dtype), requires_grad=False)


@dataclass(eq=False)
class _ChangeWhileComputing:
    """Changes weights while a module computes."""

    patch: WeightPatch
    slots: list[tuple[dict[str, Any], str, str]]
    originals: list[Tensor] = field(default_factory=list)

    def enter(self, *_arguments: object) -> None:
        """Put the changed weights in."""
        self.originals = [tensors[name] for tensors, name, _ in self.slots]
        for tensors, name, path in self.slots:
            tensors[name] = self.patch._changed(path, tensors[name])

    def leave(self, *_arguments: object) -> None:
        """Put the original weights back."""
        for (tensors, name, _), original in zip(self.slots, self.originals, strict=False):
            tensors[name] = original
        self.originals = []


@contextmanager
def _removed_later(handle: Any) -> Iterator[None]:
    """Remove a hook at the end of the block."""
    try:
        yield
    finally:
        handle.remove()
