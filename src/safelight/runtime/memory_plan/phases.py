"""Phases: a checkpoint's networks are in memory one after the other, each while it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from safelight.runtime.component import Component, ComponentSource, Patch
from safelight.runtime.pool import Reservation, release_freed_memory

Context = Callable[[], AbstractContextManager[object]]


class Phases:
    """Leases one network at a time within a reservation: the next one that is used takes its place.

    Args:
        reservation: The memory.
        while_loading: A context in which a network takes the place of another one.
    """

    def __init__(self, reservation: Reservation, while_loading: Context = nullcontext) -> None:
        self._reservation, self._while_loading = reservation, while_loading
        self._lease = ExitStack()
        self._current: tuple[ComponentSource, Component] | None = None

    def use(self, source: ComponentSource) -> Component:
        """A component, which stays leased until another one is used."""
        if self._current is not None and self._current[0].key == source.key:
            return self._current[1]
        with self._while_loading():
            self.close()
            release_freed_memory()  # of what was computed with the last one
            component = self._lease.enter_context(self._reservation.lease(source))
            release_freed_memory()  # of what was read and converted
        self._current = source, component
        return component

    def close(self) -> None:
        """End the lease of the component that is in use."""
        self._current = None
        self._lease.close()
        self._lease = ExitStack()


@runtime_checkable
class StandIn(Protocol):
    """Stands in for a network."""

    def in_memory(self) -> nn.Module:
        """The network itself."""


class LeasedNetwork(nn.Module):
    """Stands in for a network that is in memory only while it is used.

    What its configuration tells is known without it; everything else is asked of the network itself.

    Args:
        empty: The network without weights.
        device: Where the network computes.
        dtype: The data type in which it computes.
        use: Returns the network, in memory.
        context: A context in which its calls are computed, such as sliced attention.
        replaced: Methods that take the place of the network's own, such as tiled decoding; they get the network.
        known_as: The class that ``isinstance`` finds, for networks that pipelines recognise by their class.
    """

    def __init__(
        self,
        empty: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        use: Callable[[], nn.Module],
        *,
        context: Context = nullcontext,
        replaced: dict[str, Callable[[nn.Module], Callable[..., Any]]] | None = None,
        known_as: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        # No submodule, so that nothing finds the empty network's weights.
        self.__dict__.update(_empty=empty, _use=use, _context=context, _replaced=replaced or {})
        self.__dict__.update(_device=device, _dtype=dtype, _known_as=known_as or LeasedNetwork, _patches=())

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class that ``isinstance`` finds beside its own."""
        known: type = self.__dict__.get("_known_as", LeasedNetwork)
        return known

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.__dict__["_empty"].config

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        device: torch.device = self.__dict__["_device"]
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The data type in which it computes."""
        dtype: torch.dtype = self.__dict__["_dtype"]
        return dtype

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's result."""
        network = self.in_memory()
        with self.__dict__["_context"](), ExitStack() as stack:
            for patch in self.__dict__["_patches"]:
                stack.enter_context(patch.apply(in_memory(network)))
            return network(*args, **kwargs)

    @contextmanager
    def patched(self, patches: Sequence[Patch]) -> Iterator[None]:
        """Keep patches in effect while it is called within the block: it may leave the memory between two calls."""
        before = self.__dict__["_patches"]
        self.__dict__["_patches"] = (*before, *patches)
        try:
            yield
        finally:
            self.__dict__["_patches"] = before

    def in_memory(self) -> nn.Module:
        """The network itself, which is in memory until another one is used."""
        network: nn.Module = self.__dict__["_use"]()
        return network

    def to(self, *_: Any, **__: Any) -> LeasedNetwork:
        """Nothing: the network has its device and its precision."""
        return self

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__
        if name in ("encode", "decode"):
            network = self.in_memory()
            replaced = values["_replaced"].get(name)
            method = getattr(network, name) if replaced is None else replaced(network)
            return _within(values["_context"], method, network, values["_patches"])
        value = getattr(values["_empty"], name)
        if isinstance(value, str | int | float | bool | tuple | list | dict | type(None)):
            return value
        return getattr(self.in_memory(), name)


def _within(
    context: Context, method: Callable[..., Any], network: nn.Module, patches: Sequence[Patch]
) -> Callable[..., Any]:
    """A method of a network that computes within a context, with patches in effect."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with context(), ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch.apply(in_memory(network)))
            return method(*args, **kwargs)

    return call


def in_memory(network: Any) -> Any:
    """A network itself, for what looks into it or changes it: without a ``StandIn``."""
    while isinstance(network, StandIn):
        network = network.in_memory()
    return network
