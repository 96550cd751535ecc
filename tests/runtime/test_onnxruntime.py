"""ONNX Runtime runs a classifier's graph on an accelerator: which providers, which batches, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from safelight.errors import BackendError, UsageError
from safelight.moderation.classifiers.definition import CLASSIFIERS
from safelight.moderation.classifiers.loading import choose_plan
from safelight.runtime.backends import BackendPlan, compile_network
from safelight.runtime.backends.onnxruntime import BATCH_SIZES
from safelight.runtime.graph import PIXELS, OnnxGraph
from safelight.settings import Settings

GRAPH = OnnxGraph(b"", 2, 2, ("sum", "mean"))
ON_GPU = BackendPlan("onnxruntime", "fp32", 2, "cuda:1")


class FakeSession:
    """Computes sum and mean of each picture, on the providers that could be loaded."""

    opened: list[FakeSession]
    broken: frozenset[str]

    def __init__(self, _: bytes, options: Any, providers: list[Any]) -> None:
        self.providers, self.shapes = providers, list[tuple[int, ...]]()
        self.opened.append(self)

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.providers if name not in self.broken]

    def run(self, names: tuple[str, ...], given: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        pixels = given[PIXELS].astype(np.float32)
        self.shapes.append(pixels.shape)
        values = {"sum": pixels.sum((1, 2, 3)), "mean": pixels.mean((1, 2, 3))}
        return [values[name] for name in names]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[FakeSession]:
    """The sessions that were opened, with ONNX Runtime's distribution for CUDA."""
    FakeSession.opened, FakeSession.broken = [], frozenset()
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: available)
    monkeypatch.setattr(ort, "InferenceSession", FakeSession)
    return FakeSession.opened


def test_batches_have_few_sizes_and_results_are_those_of_each_picture(sessions: list[FakeSession]) -> None:
    network = compile_network(GRAPH, ON_GPU)
    (session,) = sessions
    assert [name for name, _ in session.providers][-2:] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert dict(session.providers)["CUDAExecutionProvider"] == {"device_id": 1}
    pixels = np.random.default_rng(1).integers(0, 256, (43, 2, 2, 3), np.uint8)
    found = network.run(pixels)
    assert [shape[0] for shape in session.shapes] == [32, 32]
    np.testing.assert_array_equal(found["sum"], pixels.astype(np.float32).sum((1, 2, 3)))
    assert found["mean"].shape == (43,)
    for count in (1, 3, 9):
        assert len(network.run(pixels[:count])["sum"]) == count
    assert [shape[0] for shape in session.shapes[2:]] == [1, 8, 32]
    assert {shape[0] for shape in session.shapes} == set(BATCH_SIZES)


def test_a_provider_that_is_missing_or_cannot_be_loaded_is_an_error(sessions: list[FakeSession]) -> None:
    with pytest.raises(BackendError, match="cannot compute on xpu in fp32"):
        compile_network(GRAPH, BackendPlan("onnxruntime", "fp32", 2, "xpu"))
    assert not sessions
    FakeSession.broken = frozenset({"TensorrtExecutionProvider"})
    compile_network(GRAPH, ON_GPU)  # the other one is left
    FakeSession.broken |= {"CUDAExecutionProvider"}
    with pytest.raises(BackendError, match="cannot use cuda:1") as caught:
        compile_network(GRAPH, ON_GPU)
    assert "moderation_device to cpu" in caught.value.hint


def test_the_setting_chooses_the_device() -> None:
    definition = CLASSIFIERS["open-nsfw"].define()
    plan = choose_plan(definition, Settings(moderation_device="cuda:1", threads=2))
    assert (plan, str(plan)) == (ON_GPU, "onnxruntime fp32 on cuda:1")
    assert choose_plan(definition, Settings(moderation_device="directml:1")).device == "privateuseone:1"
    with pytest.raises(BackendError, match="There is no device 'gpu'"):
        choose_plan(definition, Settings(moderation_device="gpu"))
    for other in ({"backend": "openvino"}, {"precision": "bf16"}, {"exact": True}):
        with pytest.raises(UsageError, match=f"and {next(iter(other))} is "):
            choose_plan(definition, Settings(moderation_device="cuda", **other))
