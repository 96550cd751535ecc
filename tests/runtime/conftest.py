"""A network small enough to compile in milliseconds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from safelight.runtime.graph import EMBEDDING, PIXELS, PROBABILITIES, OnnxGraph

SIDE = 4


def small_graph(sharpness: float = 4.0) -> OnnxGraph:
    """The embedding is the mean red, green and blue in 0..1; the output is their weighted softmax over two labels."""
    head = np.array([[1, -1], [0.5, -0.25], [-1, 0.75]], np.float32) * sharpness
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("head", TensorProto.FLOAT, [3, 2], head.flatten()),
    ]
    nodes = [
        helper.make_node("Cast", [PIXELS], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], [EMBEDDING], keepdims=0),
        helper.make_node("MatMul", [EMBEDDING, "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [PROBABILITIES], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", 3]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return OnnxGraph(model.SerializeToString(), SIDE, SIDE, (PROBABILITIES, EMBEDDING))


@pytest.fixture(scope="session")
def graph() -> OnnxGraph:
    return small_graph()


@pytest.fixture(scope="session")
def other_graph() -> OnnxGraph:
    return small_graph(sharpness=5.0)


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (33, SIDE, SIDE, 3), np.uint8)
