from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan, CompiledNetwork, compile_network, stack_outputs
from safelight.runtime.backends.openvino import has_bf16_units
from safelight.runtime.graph import EMBEDDING, PROBABILITIES, OnnxGraph

BACKENDS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module", params=BACKENDS)
def network(request: pytest.FixtureRequest, graph: OnnxGraph) -> CompiledNetwork:
    return compile_network(graph, BackendPlan(request.param, "fp32", 2))


def reference_output(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The small network in plain numpy, in double precision."""
    embedding = pictures.mean(axis=(1, 2)) / 255
    logits = embedding @ (np.array([[1, -1], [0.5, -0.25], [-1, 0.75]]) * 4)
    powers = np.exp(logits)
    return {PROBABILITIES: powers / powers.sum(axis=1, keepdims=True), EMBEDDING: embedding}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 33])
def test_any_batch_gives_the_networks_output(
    network: CompiledNetwork, pictures: np.ndarray, count: int
) -> None:
    outputs = network.run(pictures[:count])
    assert set(outputs) == {PROBABILITIES, EMBEDDING}
    for name, answer in reference_output(pictures[:count]).items():
        assert outputs[name].dtype == np.float32
        assert outputs[name].shape == answer.shape
        np.testing.assert_allclose(outputs[name], answer, atol=1e-6)


def test_engines_agree(graph: OnnxGraph, pictures: np.ndarray) -> None:
    one, other = (compile_network(graph, BackendPlan(name, "fp32", 2)).run(pictures) for name in BACKENDS)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_bf16_on_openvino_is_near_fp32(graph: OnnxGraph, pictures: np.ndarray) -> None:
    if not has_bf16_units(openvino.Core()):
        with pytest.raises(BackendError, match="only on processors with units for it"):
            compile_network(graph, BackendPlan("openvino", "bf16", 1))
        return
    answer = compile_network(graph, BackendPlan("openvino", "bf16", 1)).run(pictures)
    np.testing.assert_allclose(answer[PROBABILITIES], reference_output(pictures)[PROBABILITIES], atol=0.03)


def test_outputs_outlive_the_next_run(network: CompiledNetwork, pictures: np.ndarray) -> None:
    first = network.run(pictures[:2])
    kept = {name: values.copy() for name, values in first.items()}
    network.run(pictures[20:30])
    for name in kept:
        np.testing.assert_array_equal(first[name], kept[name])


def test_threads_do_not_mix_their_images(network: CompiledNetwork, pictures: np.ndarray) -> None:
    alone = network.run(pictures)

    def ask(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(pictures))[: 1 + seed % 9]
        together = network.run(pictures[order])
        return all(np.array_equal(together[name], alone[name][order]) for name in alone)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_openvino_keeps_compiled_blobs(graph: OnnxGraph, pictures: np.ndarray, tmp_path: Path) -> None:
    first = compile_network(graph, BackendPlan("openvino", "fp32", 1), tmp_path).run(pictures)
    assert list((tmp_path / "openvino").glob("*.blob"))
    again = compile_network(graph, BackendPlan("openvino", "fp32", 1), tmp_path).run(pictures)
    np.testing.assert_array_equal(first[PROBABILITIES], again[PROBABILITIES])


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (BackendPlan("onnxruntime", "bf16", 1), "onnxruntime runs a network in fp32 only, not in bf16."),
        (BackendPlan("openvino", "fp16", 1), "openvino runs a network in fp32, bf16 or int8, not in fp16."),
        (
            BackendPlan("mxnet", "fp32", 1),
            "There is no backend 'mxnet'.",
        ),
    ],
    ids=str,
)
def test_impossible_plans(graph: OnnxGraph, plan: BackendPlan, complaint: str) -> None:
    with pytest.raises(BackendError) as caught:
        compile_network(graph, plan)
    assert caught.value.message == complaint


def test_importing_an_engine_sends_no_telemetry(tmp_path: Path) -> None:
    """Unless CI is set, OpenVINO would send telemetry without asking the user."""
    log = tmp_path / "attempts.txt"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")
    }
    environment |= {"NETWORK_LOG": str(log), "HOME": str(tmp_path)}
    for module in ("safelight.runtime.backends.onnxruntime", "safelight.runtime.backends.openvino"):
        subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, check=True)
    assert not log.exists(), log.read_text()
    assert list(tmp_path.iterdir()) == []


def test_stack_outputs_joins_along_the_first_axis() -> None:
    rows = [{"a": np.full((1, 2), i, np.float32), "b": np.full((1, 3, 4), i, np.float32)} for i in range(3)]
    stacked = stack_outputs(rows)
    assert stacked["b"].shape == (3, 3, 4)
    np.testing.assert_array_equal(stacked["a"], [[0, 0], [1, 1], [2, 2]])
