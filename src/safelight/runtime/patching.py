"""Apply patches to a network, and refuse those that would have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pkgutil import resolve_name
from typing import Any, Protocol, runtime_checkable

from safelight.errors import BackendError
from safelight.runtime.component import Component, Patch, PurePatch
from safelight.runtime.memory_plan.phases import LeasedNetwork, in_memory


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
        if patches and isinstance(network, LeasedNetwork):
            stack.enter_context(network.patched(patches))
        else:
            for patch in patches:
                stack.enter_context(patch.apply(in_memory(network)))
        yield


def describe_patch(patch: Any) -> dict[str, Any]:
    """A ``PurePatch`` as plain data, for another process."""
    kind = type(patch)
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "fields": asdict(patch)}


def make_patch(description: Mapping[str, Any]) -> Any:
    """The patch of a description.

    Raises:
        BackendError: It describes none.
    """
    try:
        kind = resolve_name(description["class"])
    except (ImportError, AttributeError, ValueError) as error:
        raise BackendError(f"There is no patch {description['class']}: {error}.") from error
    if not isinstance(kind, type) or not issubclass(kind, PurePatch):
        raise BackendError(f"{description['class']} is no patch that can be compiled.")
    return kind(**description["fields"])


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


@contextmanager
def replaced_forward(network: Any, forward: Any) -> Iterator[None]:
    """Another forward method within the block; hooks of other libraries may have set one on the network."""
    own = vars(network).get("forward")
    network.forward = forward
    try:
        yield
    finally:
        if own is None:
            del network.forward
        else:
            network.forward = own
