"""What identifies a network in memory, and changes that are applied to it while it computes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


class Patch(Protocol):
    """A change of a network, such as a LoRA: in effect while calls are computed, and undone afterwards."""

    @property
    def identity(self) -> str:
        """Equal for equal changes; calls with different patches are never computed as one."""

    def apply(self, network: Any) -> AbstractContextManager[None]:
        """Change the network within the block; called by one thread at a time, with nothing else being computed."""


@dataclass(frozen=True)
class ComponentKey:
    """What identifies a network: in the pool, in batches, in caches of its results, and in records.

    Args:
        digest: SHA-256 of its weights, in hexadecimal.
        dtype: Arithmetic of the weights, such as "fp32".
        backend: What computes it, such as "eager".
        patches: The identities of the patches in effect, in order.
    """

    digest: str
    dtype: str
    backend: str = "eager"
    patches: tuple[str, ...] = ()
