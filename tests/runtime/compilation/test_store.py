"""The forms of an engine: which are made, and in which order they give way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from safelight.errors import BackendError, MemoryBudgetError
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.store import MADE_AT_ONCE, FormStore, Wanted
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.compile_cache import CompileCache
from safelight.runtime.component import ComponentKey
from safelight.runtime.pool import ModelPool


class Recorded:
    """Records what is to be converted, and converts nothing."""

    def __init__(self, error: Exception | None = None) -> None:
        self.shapes: list[str] = []
        self.error = error
        self.urgent: bool | None = None

    def __call__(self, wanted: Wanted, urgent: bool) -> None:
        self.urgent = urgent
        self.shapes.append(wanted.call.place)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store(tmp_path: Path) -> FormStore:
    return FormStore(ModelPool(10**9), CompileCache(tmp_path, 10**9))


def wanted(convert: Recorded, rows: int = 1) -> Wanted:
    call = NetworkCall.of(nn.Linear(4, 4), "forward", (torch.zeros(rows, 4),), {})
    return Wanted("unet", ComponentKey("0" * 64, "fp32"), call, BackendPlan("openvino", "fp32", 1), convert)


def test_a_form_that_could_not_be_made_is_not_tried_again(store: FormStore) -> None:
    convert = Recorded(BackendError("no"))
    for _ in range(2):
        store.request(wanted(convert))
        assert store.wait(30)
    assert convert.shapes == ["1x4"]
    assert convert.urgent is False
    assert store.problem(wanted(convert)) == "no"


@pytest.mark.parametrize("error", [MemoryBudgetError("full"), None])
def test_a_form_that_found_no_memory_is_tried_again(store: FormStore, error: Exception | None) -> None:
    convert = Recorded(error)
    for _ in range(2):
        store.request(wanted(convert))
        assert store.wait(30)
    assert convert.shapes == ["1x4"] * 2


def test_an_unexpected_error_is_a_problem_and_ends_nothing(store: FormStore) -> None:
    store.request(wanted(Recorded(ZeroDivisionError("division"))))
    convert = Recorded()
    store.request(wanted(convert, 2))
    assert store.wait(30)
    assert store.problem(wanted(convert)) == "ZeroDivisionError: division"
    assert convert.shapes == ["2x4"]


def test_after_some_shapes_only_those_that_come_again_are_made(store: FormStore) -> None:
    convert = Recorded()
    for rows in range(1, MADE_AT_ONCE + 3):
        store.request(wanted(convert, rows))
    assert store.wait(30)
    assert convert.shapes == [f"{rows}x4" for rows in range(1, MADE_AT_ONCE + 1)]
    store.request(wanted(convert, MADE_AT_ONCE + 1))
    assert store.wait(30)
    assert convert.shapes[-1] == f"{MADE_AT_ONCE + 1}x4"


def test_a_stopped_store_begins_nothing(store: FormStore) -> None:
    convert = Recorded()
    store.stop()
    store.request(wanted(convert))
    assert store.wait(30)
    assert convert.shapes == []


def test_making_now_names_the_component(store: FormStore) -> None:
    convert = Recorded(BackendError("no"))
    with pytest.raises(BackendError, match="openvino cannot run the unet: no"):
        store.make(wanted(convert))
    assert convert.urgent is True
