"""Components made of any network, for tests."""

from __future__ import annotations

from typing import Any

from safelight.runtime.component import Component, ComponentKey, parameter_names


def component_of(network: Any, *, dtype: str = "fp32") -> Component:
    """A component whose key is that of no other network."""
    return Component(ComponentKey(f"{id(network):064x}", dtype), network, 0, parameter_names(network))
