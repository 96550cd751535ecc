from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from safelight.errors import ModelInvalidError
from safelight.moderation.classifiers import open_nsfw
from safelight.moderation.classifiers.torchscript import OnnxModule
from safelight.runtime.backends import BackendPlan, compile_network
from safelight.runtime.graph import FEATURES, PIXELS, OnnxGraph


def one_node(node: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> OnnxGraph:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [1, 4, 4, 3])],
        [helper.make_tensor_value_info("out", kind, [1, 4, 4, 3])],
    )
    return OnnxGraph(helper.make_model(graph).SerializeToString(), 4, 4, ("out",))


def test_replaying_open_nsfw_node_by_node_gives_the_same_numbers() -> None:
    graph = open_nsfw.build_graph(with_features=True)
    pixels = np.random.default_rng(5).integers(0, 256, (3, 224, 224, 3), np.uint8)
    expected = compile_network(graph, BackendPlan("onnxruntime", "fp32", 2)).run(pixels)
    with torch.inference_mode():
        replayed = OnnxModule(graph).eval()(torch.from_numpy(pixels))
    assert len(replayed) == 3
    for name, values in zip(graph.outputs, replayed, strict=True):
        np.testing.assert_allclose(values.numpy(), expected[name], atol=1e-3)
    assert expected[FEATURES].max() > 1, "features that are all zero would prove nothing"


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(ModelInvalidError) as caught:
        OnnxModule(one_node(helper.make_node("BitwiseNot", [PIXELS], ["out"]), TensorProto.UINT8))
    assert caught.value.message == "No TorchScript for the ONNX operations BitwiseNot."


def test_only_casts_to_float_are_supported() -> None:
    node = helper.make_node("Cast", [PIXELS], ["out"], to=TensorProto.INT32)
    replay = OnnxModule(one_node(node, TensorProto.INT32))
    with pytest.raises(ModelInvalidError, match="Only casts to float"):
        replay(torch.zeros((1, 4, 4, 3), dtype=torch.uint8))
