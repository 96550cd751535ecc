"""Apply patches to a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from safelight.runtime.component import Patch


@contextmanager
def patched(network: Any, patches: Iterable[Patch]) -> Iterator[None]:
    """Keep patches in effect within the block: applied in order, undone in reverse order, after errors too."""
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch.apply(network))
        yield
