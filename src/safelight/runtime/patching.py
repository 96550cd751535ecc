"""Apply patches to a network, and refuse those that would have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

from safelight.errors import BackendError
from safelight.runtime.component import Component, Patch
from safelight.runtime.memory_plan.phases import in_memory


@runtime_checkable
class HasForms(Protocol):
    """A network with compiled forms, in which patches of the network have no effect."""

    def computing_eagerly(self) -> AbstractContextManager[None]:
        """Use no form within the block."""


@contextmanager
def patched(network: Any, patches: Iterable[Patch]) -> Iterator[None]:
    """Keep patches in effect within the block: applied in order, undone in reverse order, after errors too."""
    patches = tuple(patches)
    with ExitStack() as stack:
        if patches and isinstance(network, HasForms):
            stack.enter_context(network.computing_eagerly())
        for patch in patches:
            stack.enter_context(patch.apply(in_memory(network)))
        yield


def check_patchable(component: Component) -> None:
    """Refuse to patch a component whose backend ignores changes of the network that it compiled.

    Raises:
        BackendError: Its backend cannot patch networks.
    """
    if not component.patchable:
        raise BackendError(
            f"The backend {component.key.backend} cannot patch a network, as LoRA and "
            "perturbed-attention guidance do.",
            hint="Set generation_backend to eager, or leave out what patches the network.",
        )
