from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch

from safelight.errors import ModelInvalidError
from safelight.models.pickles.contents import MAX_DEPTH, find_contents

ONE, TWO = torch.ones(2), torch.zeros(3)


@pytest.mark.parametrize(
    ("loaded", "names", "metadata", "left_out"),
    [
        ({"a": ONE, "b.c": TWO}, {"a", "b.c"}, {}, ()),
        ({"state_dict": {"a": ONE}, "step": 7, "callbacks": object()}, {"a"}, {"step": "7"}, ("callbacks",)),
        ({"params_ema": {"a": ONE}, "params": {"a": TWO}}, {"a"}, {}, ("params",)),
        ({"model": {"a": ONE}, "optimizer": {"state": {0: {"exp_avg": TWO}}}}, {"a"}, {}, ("optimizer",)),
        (
            {"string_to_token": {"*": 5}, "string_to_param": {"*": ONE}, "name": "style", "step": 99, "sd": None},
            {"emb_params"},
            {"name": "style", "step": "99"},
            ("sd", "string_to_token"),
        ),
        ({"clip_l": ONE, "clip_g": TWO}, {"clip_l", "clip_g"}, {}, ()),
        ({"unet": {"down": {"w": ONE}}, "te": {"w": TWO}}, {"unet.down.w", "te.w"}, {}, ()),
        (OrderedDict(weight=ONE, note="kept"), {"weight"}, {"note": "kept"}, ()),
        ({"model": "esrgan", "weight": ONE}, {"weight"}, {"model": "esrgan"}, ()),
    ],
)  # fmt: skip
def test_weights_are_found(
    loaded: Any, names: set[str], metadata: dict[str, str], left_out: tuple[str, ...]
) -> None:
    found = find_contents(loaded)
    assert (set(found.tensors), found.metadata, found.left_out) == (names, metadata, left_out)


def test_the_averaged_weights_are_taken() -> None:
    assert find_contents({"params": {"a": TWO}, "params_ema": {"a": ONE}}).tensors["a"] is not TWO


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {"a": ONE}


def doubling(depth: int) -> dict[str, Any]:
    """Two references to one dictionary at each depth: few bytes stand for many entries."""
    inner: dict[str, Any] = {str(number): ONE for number in range(100_000)}
    for _ in range(depth):
        inner = {str(number): inner for number in range(20)}
    return inner


@pytest.mark.parametrize(
    "loaded",
    [
        ONE,
        [ONE],
        None,
        {},
        {"name": "x"},
        nested(MAX_DEPTH + 1),
        doubling(3),
        {"string_to_param": {"a": ONE, "b": TWO}},
        {"a": ONE.to_sparse()},
        {"1": ONE, 1: TWO},
        {"a": torch.empty(3, device="meta")},
        {"a": torch.ones(1).expand(10**12)},
    ],
)
def test_other_things_are_refused(loaded: Any) -> None:
    with pytest.raises(ModelInvalidError):
        find_contents(loaded)
