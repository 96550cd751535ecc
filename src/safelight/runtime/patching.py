"""Apply patches to a network, and refuse those that would have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from safelight.errors import BackendError
from safelight.runtime.component import Component, Patch
from safelight.runtime.memory_plan.phases import in_memory


@contextmanager
def patched(network: Any, patches: Iterable[Patch]) -> Iterator[None]:
    """Keep patches in effect within the block: applied in order, undone in reverse order, after errors too."""
    with ExitStack() as stack:
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
