"""Whether a form on CUDA is launched as a graph, with a stand-in for the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from safelight.runtime.backends import cuda_graph
from safelight.runtime.backends.cuda_graph import GraphedForm

Run = Callable[[Sequence[Tensor]], list[Tensor]]


class Form:
    """Doubles, in a certain time by the clock of the test."""

    nbytes = 8

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.calls = clock, 0

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self.calls += 1
        self.clock[0] += 1.0
        return [2 * tensor for tensor in tensors]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(("seconds", "graphed"), [(0.5, True), (2.0, False)])
def test_the_first_call_decides_for_what_is_faster(
    seconds: float, graphed: bool, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[int] = []

    def capture(form: Form, inputs: list[Tensor]) -> Run:
        def launch(tensors: Sequence[Tensor]) -> list[Tensor]:
            launched.append(len(tensors))
            clock[0] += seconds
            return [2 * tensor for tensor in tensors]

        return launch

    monkeypatch.setattr(cuda_graph, "capture", capture)
    form = Form(clock)
    whole = GraphedForm(form, torch.device("cpu"))
    assert whole.run([torch.ones(2)])[0].tolist() == [2, 2]
    counted = form.calls, len(launched)
    assert whole.run([torch.zeros(2)])[0].tolist() == [0, 0]
    assert (form.calls - counted[0], len(launched) - counted[1]) == ((0, 1) if graphed else (1, 0))
    assert whole.nbytes == 8


def test_what_cannot_be_captured_is_computed_as_it_is(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(form: Form, inputs: list[Tensor]) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "capture", refuse)
    form = Form(clock)
    assert GraphedForm(form, torch.device("cpu")).run([torch.ones(2)])[0].tolist() == [2, 2]
    assert form.calls == 1
