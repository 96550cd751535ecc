from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from safelight.runtime.patching import patched


@dataclass(frozen=True)
class Append:
    identity: str

    @contextmanager
    def apply(self, network: list[str]) -> Iterator[None]:
        network.append(self.identity)
        try:
            yield
        finally:
            assert network.pop() == self.identity


def test_patches_apply_in_order_and_are_undone_in_reverse() -> None:
    network: list[str] = []
    with patched(network, [Append("a"), Append("b")]):
        assert network == ["a", "b"]
    assert network == []


def test_patches_are_undone_after_errors() -> None:
    network: list[str] = []
    with pytest.raises(ZeroDivisionError), patched(network, [Append("a"), Append("b")]):
        _ = 1 / 0
    assert network == []
