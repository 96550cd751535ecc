"""A stand-in for a network within one picture's pipeline, and the base of what backends make of networks."""

from __future__ import annotations

from typing import Any

from torch import nn


class NetworkProxy(nn.Module):
    """Calls a network, and has its attributes, but hooks of its own; subclasses replace ``forward``.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: object, **kwargs: object) -> object:
        """The network's result."""
        return self.network(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)
