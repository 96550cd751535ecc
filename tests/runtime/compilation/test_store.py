"""The forms of an engine: which are made, and in which order they give way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from safelight.errors import BackendError, MemoryBudgetError
from safelight.runtime import compile_cache
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.store import MADE_AT_ONCE, Convert, FormStore, Wanted
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


FP32 = BackendPlan("openvino", "fp32", 1)


def wanted(convert: Convert, rows: int = 1, fallbacks: tuple[BackendPlan, ...] = ()) -> Wanted:
    call = NetworkCall.of(nn.Linear(4, 4), "forward", (torch.zeros(rows, 4),), {})
    return Wanted("unet", ComponentKey("0" * 64, "fp32"), call, FP32, convert, fallbacks=fallbacks)


OTHERS = (BackendPlan("onnxruntime", "fp32", 1), BackendPlan("inductor", "fp32", 1))


def test_what_one_backend_refuses_the_next_is_asked_for(store: FormStore) -> None:
    asked: list[str] = []

    def convert(form: Wanted, _urgent: bool) -> None:
        asked.append(form.plan.backend)
        if form.plan.backend != "inductor":
            raise BackendError(f"{form.plan.backend} cannot convert it")

    for _ in range(2):
        store.request(wanted(convert, fallbacks=OTHERS))
        assert store.wait(30)
    assert asked == ["openvino", "onnxruntime", "inductor"]
    problems = [store.problem(each) for each in wanted(convert, fallbacks=OTHERS).plans()]
    assert problems == ["openvino cannot convert it", "onnxruntime cannot convert it", ""]


def test_a_refusal_on_disk_counts_in_a_new_process_until_it_is_old(
    store: FormStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, convert = wanted(Recorded()), Recorded()
    store.cache.refuse(form.key, "Linear 1x4 (openvino fp32)", "complex numbers")
    fresh = FormStore(ModelPool(10**9), CompileCache(tmp_path, 10**9))
    assert fresh.problem(form) == "complex numbers"
    assert fresh.problem(wanted(convert, 2)) == ""
    fresh.request(wanted(convert))
    assert fresh.wait(30)
    assert convert.shapes == []
    assert fresh.cache.refusals == {"Linear 1x4 (openvino fp32)": "complex numbers"}
    monkeypatch.setattr(compile_cache, "REFUSED_FOR", -1)
    assert fresh.problem(form) == ""
    fresh.cache.prune()
    monkeypatch.undo()
    assert fresh.cache.refusals == {}


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
