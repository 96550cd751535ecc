"""A network on another device than its caller's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_METHODS = ("encode", "decode")
"""What is called of networks beside ``forward``."""


class NetworkElsewhere(nn.Module):
    """Stands in for a network on another device: what it is called with is moved there, and its results come back.

    For everything that asks, it is on its callers' device, and of the network's class.

    Args:
        network: The network.
        own: The device on which it computes.
        device: Its callers' device.
    """

    def __init__(self, network: nn.Module, own: torch.device, device: torch.device) -> None:
        super().__init__()
        # No submodule, so that nothing finds weights that are not on this device.
        self.__dict__.update(_network=network, _own=own, _device=device)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The network's, beside its own."""
        return type(self.__dict__["_network"]) if "_network" in self.__dict__ else NetworkElsewhere

    @property
    def device(self) -> torch.device:
        """The callers' device."""
        device: torch.device = self.__dict__["_device"]
        return device

    def in_memory(self) -> nn.Module:
        """The network itself."""
        network: nn.Module = self.__dict__["_network"]
        return network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's result."""
        return self._call(self.in_memory(), *args, **kwargs)

    def to(self, *_: Any, **__: Any) -> NetworkElsewhere:
        """Nothing: the network has its device and its precision."""
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["_network"], name)
        return partial(self._call, found) if name in _METHODS else found

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        own: torch.device = self.__dict__["_own"]
        result = function(*_moved(args, own), **_moved(kwargs, own))
        return _moved(result, self.device)


def _moved(value: Any, device: torch.device) -> Any:
    """A value with its tensors on a device, in lists, tuples, mappings and distributions at any depth."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, device) for each in value)
    if isinstance(
        value, dict
    ):  # outputs of transformers and diffusers are dicts too, with classes of their own
        parts = {name: _moved(each, device) for name, each in value.items()}
        return type(value)(**parts)
    if isinstance(getattr(value, "parameters", None), Tensor):  # diffusers' distribution of latents
        return type(value)(_moved(value.parameters, device), value.deterministic)
    return value
