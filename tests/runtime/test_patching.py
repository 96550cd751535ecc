from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from safelight.errors import BackendError
from safelight.generation.modifiers.token_merging import MergedTokens
from safelight.runtime.patching import describe_patch, make_patch, patched


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


def test_a_patch_that_can_be_compiled_is_made_from_its_description() -> None:
    assert make_patch(json.loads(json.dumps(describe_patch(MergedTokens(0.25))))) == MergedTokens(0.25)


@pytest.mark.parametrize(
    "name", ["nowhere:Patch", "safelight:Nothing", "subprocess:run", f"{__name__}:Append"]
)
def test_only_patches_that_can_be_compiled_are_made(name: str) -> None:
    with pytest.raises(BackendError, match=name.partition(":")[0]):
        make_patch({"class": name, "fields": {"identity": "a"}})
