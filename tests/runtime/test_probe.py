from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from safelight.errors import BackendError
from safelight.runtime import probe
from safelight.runtime.backends import BackendPlan, CompiledNetwork, Outputs, compile_network, openvino
from safelight.runtime.graph import PROBABILITIES, OnnxGraph
from safelight.runtime.machine import usable_cores
from safelight.runtime.probe import Measurement, candidate_plans, choose_fastest_plan, measure_plans

REFERENCE = BackendPlan("onnxruntime", "fp32", 2)
FP32 = BackendPlan("openvino", "fp32", 2)
BF16 = BackendPlan("openvino", "bf16", 2)
PLANS = [REFERENCE, FP32, BF16]


@dataclass
class PatchedEngines:
    """The real engines, with the outputs of chosen plans changed."""

    change: dict[BackendPlan, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    compiled: list[BackendPlan] = field(default_factory=list)

    def compile(self, graph: OnnxGraph, plan: BackendPlan, cache: Path | None = None) -> CompiledNetwork:
        self.compiled.append(plan)
        return PatchedNetwork(compile_network(graph, plan, cache), self.change.get(plan, lambda p: p))


@dataclass
class PatchedNetwork:
    network: CompiledNetwork
    change: Callable[[np.ndarray], np.ndarray]

    def run(self, pixels: np.ndarray) -> Outputs:
        outputs = self.network.run(pixels)
        return outputs | {PROBABILITIES: self.change(outputs[PROBABILITIES])}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> PatchedEngines:
    engines = PatchedEngines()
    monkeypatch.setattr(
        openvino, "has_bf16_units", lambda _: True
    )  # emulating it does no harm to this small network
    monkeypatch.setattr(probe, "compile_network", engines.compile)
    return engines


def fail(message: str) -> Callable[[np.ndarray], np.ndarray]:
    def refuse(_: np.ndarray) -> np.ndarray:
        raise RuntimeError(message)

    return refuse


def test_candidates_match_the_requested_settings() -> None:
    assert candidate_plans("auto", "auto", 2) == PLANS
    assert candidate_plans("openvino", "auto", 2) == [FP32, BF16]
    assert candidate_plans("auto", "bf16", 2) == [BF16]
    assert candidate_plans("onnxruntime", "fp32", 2) == [REFERENCE]
    assert {plan.threads for plan in candidate_plans("auto", "auto", 0)} == {usable_cores()}


def test_no_candidate() -> None:
    with pytest.raises(BackendError) as caught:
        candidate_plans("onnxruntime", "bf16", 2)
    assert caught.value.message == "onnxruntime does not run a network in bf16."
    assert "safelight doctor" in caught.value.hint


def test_an_explicit_plan_is_not_probed(graph: OnnxGraph, engines: PatchedEngines, tmp_path: Path) -> None:
    assert choose_fastest_plan(graph, [BF16], np.zeros((0, 1, 1, 3), np.uint8), tmp_path, pytest.fail) == BF16
    assert engines.compiled == []
    assert list(tmp_path.iterdir()) == []


def test_the_choice_is_cached_and_reused(
    graph: OnnxGraph, other_graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines, tmp_path: Path
) -> None:
    told: list[str] = []
    first = choose_fastest_plan(graph, PLANS, pictures, tmp_path, told.append)
    assert first in PLANS
    assert len(told) == 1
    (kept,) = (tmp_path / "probe").iterdir()
    body = json.loads(kept.read_text())
    assert BackendPlan(**body["chosen"]) == first
    assert [trial["plan"]["precision"] for trial in body["trials"]] == ["fp32", "fp32", "bf16"]

    engines.compiled.clear()
    assert choose_fastest_plan(graph, PLANS, pictures, tmp_path, pytest.fail) == first
    assert engines.compiled == []

    choose_fastest_plan(other_graph, PLANS, pictures, tmp_path, told.append)
    choose_fastest_plan(graph, PLANS[1:], pictures, tmp_path, told.append)
    assert len(told) == 3, "another network or other candidates are another question"


def test_nothing_is_cached_without_a_cache(
    graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines
) -> None:
    told: list[str] = []
    for _ in range(2):
        assert choose_fastest_plan(graph, PLANS[:2], pictures, None, told.append) in PLANS[:2]
    assert len(told) == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"\xff\xfe",
        b"{}",
        b'{"chosen": null}',
        b'{"chosen": {"backend": "openvino"}}',
        b'{"chosen": {"backend": "openvino", "precision": "int4", "threads": 2}}',
        b'{"chosen": {"backend": "openvino", "precision": "fp32", "threads": 64}}',
    ],
)
def test_a_damaged_choice_is_repeated(
    graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines, tmp_path: Path, damage: bytes
) -> None:
    told: list[str] = []
    engines.change = {REFERENCE: slow, BF16: slow}
    choose_fastest_plan(graph, PLANS, pictures[:2], tmp_path, told.append)
    (kept,) = (tmp_path / "probe").iterdir()
    kept.write_bytes(damage)
    assert choose_fastest_plan(graph, PLANS, pictures[:2], tmp_path, told.append) == FP32
    assert len(told) == 2
    assert BackendPlan(**json.loads(kept.read_text())["chosen"]) == FP32


def slow(answer: np.ndarray) -> np.ndarray:
    import time

    time.sleep(0.02)
    return answer


def test_the_fastest_is_chosen(
    graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines, tmp_path: Path
) -> None:
    for fastest in (REFERENCE, FP32):
        engines.change = {plan: slow for plan in PLANS if plan != fastest}
        assert choose_fastest_plan(graph, PLANS, pictures[:4], None) == fastest


def test_an_inaccurate_candidate_is_rejected_however_fast(
    graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines, tmp_path: Path
) -> None:
    engines.change = {REFERENCE: slow, FP32: lambda p: p + 0.02, BF16: lambda p: p + 0.02}
    assert choose_fastest_plan(graph, PLANS, pictures, tmp_path) == REFERENCE
    (kept,) = (tmp_path / "probe").iterdir()
    trials = {
        t["plan"]["backend"] + t["plan"]["precision"]: t for t in json.loads(kept.read_text())["trials"]
    }
    assert trials["onnxruntimefp32"]["faithful"] is True
    assert trials["openvinofp32"]["faithful"] is False
    assert trials["openvinofp32"]["probability_error"] == pytest.approx(0.02, abs=1e-4)


def test_nan_is_inaccurate(graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines) -> None:
    engines.change = {BF16: lambda p: p * np.nan}
    (trial,) = measure_plans(graph, [BF16], pictures)
    assert not trial.matches_reference


def test_a_drift_in_log_odds_counts_where_probabilities_hardly_move(
    graph: OnnxGraph, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Far:
        """Outputs near 0, as a classifier gives for harmless images."""

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def run(self, pixels: np.ndarray) -> Outputs:
            unsafe = np.full(len(pixels), 1e-4 * self.factor, np.float32)
            return {PROBABILITIES: np.stack([1 - unsafe, unsafe], axis=1)}

    monkeypatch.setattr(
        probe,
        "compile_network",
        lambda graph, plan, cache=None: Far(1 if plan.backend == "onnxruntime" else 2),
    )
    (trial,) = measure_plans(graph, [FP32], pictures)
    assert trial.probability_error == pytest.approx(1e-4, rel=0.01)
    assert trial.log_odds_error == pytest.approx(math.log(2), rel=0.01)
    assert not trial.matches_reference


def test_a_candidate_that_cannot_run_is_rejected(
    graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines
) -> None:
    engines.change = {BF16: fail("no such unit\nand a stack trace"), REFERENCE: slow}
    assert choose_fastest_plan(graph, PLANS, pictures[:2], None) == FP32
    (trial,) = measure_plans(graph, [BF16], pictures[:2])
    assert trial == Measurement(BF16, math.inf, problem="no such unit")
    assert trial.to_dict()["milliseconds"] is None
    json.dumps(trial.to_dict(), allow_nan=False)


def test_an_impossible_plan_is_a_measurement_with_a_problem(graph: OnnxGraph, pictures: np.ndarray) -> None:
    (trial,) = measure_plans(graph, [BackendPlan("onnxruntime", "bf16", 1)], pictures)
    assert trial.problem == "onnxruntime runs a network in fp32 only, not in bf16."
    assert not trial.matches_reference


def test_no_accurate_candidate(
    graph: OnnxGraph, pictures: np.ndarray, engines: PatchedEngines, tmp_path: Path
) -> None:
    engines.change = {FP32: lambda p: p + 0.5, BF16: fail("no such unit")}
    with pytest.raises(BackendError) as caught:
        choose_fastest_plan(graph, [FP32, BF16], pictures, tmp_path)
    assert caught.value.message == "openvino fp32: strays from the reference; openvino bf16: no such unit"
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("probability_error", "log_odds_error", "problem", "faithful"),
    [
        (0.0, 0.0, "", True),
        (0.01, 0.15, "", True),
        (0.0101, 0.0, "", False),
        (0.0, 0.151, "", False),
        (0.0, 0.0, "broken", False),
        (math.nan, 0.0, "", False),
        (0.0, math.nan, "", False),
    ],
)
def test_tolerances(probability_error: float, log_odds_error: float, problem: str, faithful: bool) -> None:
    assert Measurement(BF16, 1.0, probability_error, log_odds_error, problem).matches_reference is faithful


def test_real_engines_are_accurate_in_fp32(graph: OnnxGraph, pictures: np.ndarray) -> None:
    for trial in measure_plans(graph, [REFERENCE, FP32], pictures):
        assert trial.matches_reference
        assert trial.probability_error < 1e-5
        assert 0 < trial.milliseconds < 1000
