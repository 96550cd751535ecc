"""Components: networks in memory, what identifies them, and changes that are applied to them while they compute.

Nothing here imports torch, so that a classifier on ONNX Runtime is a component without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from safelight.runtime.compilation.releasable_weights import ReleasableWeights


class Patch(Protocol):
    """A change of a network, such as a LoRA: in effect while calls are computed, and undone afterwards."""

    @property
    def identity(self) -> str:
        """Equal for equal changes; calls with different patches are never computed as one."""

    def apply(self, network: Any) -> AbstractContextManager[None]:
        """Change the network within the block; called by one thread at a time, with nothing else being computed."""


class PurePatch:
    """Base of patches, dataclasses, that can be compiled together with a network.

    What the patched network computes depends on the patch's fields and on the call, and on nothing else: such a patch
    has no state, and reads no values of tensors. Another process makes it from its class and its fields, which are
    plain data. It may let the network take more arguments, by name.
    """


@dataclass(frozen=True)
class ComponentKey:
    """What identifies a network: in the pool, in batches, in caches of its results, and in records.

    Args:
        digest: SHA-256 of its weights and its configuration, in hexadecimal.
        dtype: Arithmetic of the weights, such as "fp32".
        backend: What computes it, such as "eager".
        patches: The identities of the patches in effect, in order.
        form: How its weights are kept, where that is not whole on the device (``runtime.memory_plan.forms``).
        device: Where it is, if that is not the device of the denoiser, as torch names it.
    """

    digest: str
    dtype: str
    backend: str = "eager"
    patches: tuple[str, ...] = ()
    form: str = ""
    device: str = ""

    def patched(self, patches: Iterable[Patch]) -> ComponentKey:
        """The key of the network with more patches in effect."""
        return replace(self, patches=(*self.patches, *(patch.identity for patch in patches)))


@dataclass(frozen=True, eq=False)
class Component:
    """A network in memory, whatever its backend made of it.

    Args:
        key: What identifies it.
        network: The network: a torch module, what a backend compiled from it, a compiled graph, or an upscaler.
        nbytes: Bytes of its weights and buffers.
        parameters: The names of the arguments that a torch network takes, in order, whatever a backend made of it;
            empty for networks that are not called through ``runtime.calls``.
        patchable: Whether a ``Patch`` of the network has an effect.
        joins: Whether calls of several pictures are computed as one. False for networks with static shapes, which
            compute a batch no faster: so their results do not depend on other pictures.
        weights: Its weights, where they can be released while something else computes in its place.
        derived: Bytes of what is made of it and kept in memory while it is used, where there is room.
    """

    key: ComponentKey
    network: Any
    nbytes: int
    parameters: tuple[str, ...] = ()
    patchable: bool = True
    joins: bool = True
    weights: ReleasableWeights | None = None
    derived: int = 0

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of a diffusers network."""
        config: Mapping[str, Any] = self.network.config
        return config

    @property
    def dtype(self) -> torch.dtype:
        """The data type of a torch network's input."""
        return self.network.dtype

    @property
    def device(self) -> torch.device:
        """The device of a torch network's input."""
        return self.network.device

    @property
    def own_device(self) -> torch.device:
        """The device on which a torch network computes, which may be another one."""
        import torch

        return torch.device(self.key.device) if self.key.device else self.device


def parameter_names(network: torch.nn.Module) -> tuple[str, ...]:
    """The names of the arguments that a torch network takes, in order."""
    return tuple(inspect.signature(network.forward).parameters)


@dataclass(frozen=True, eq=False)
class ComponentSource:
    """A component that can be loaded.

    Args:
        key: What identifies it, before it is loaded.
        nbytes: An estimate of the bytes that it will take.
        load: Loads it.
        derived: As in ``Component``, once that is known.
    """

    key: ComponentKey
    nbytes: int
    load: Callable[[], Component]
    derived: int = 0

    def within(self, context: Callable[[], AbstractContextManager[object]]) -> ComponentSource:
        """The source, loaded within a context such as a lock."""

        def load() -> Component:
            with context():
                return self.load()

        return replace(self, load=load)
