"""Convert classifiers to TorchScript.

A timm checkpoint is traced directly. open-nsfw exists only as an ONNX graph with nine kinds of nodes, so a torch
module runs it node by node, and that module is traced.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch.nn import functional

from safelight.errors import ModelInvalidError
from safelight.moderation.classifiers.timm_config import read_timm_config
from safelight.moderation.classifiers.timm_convert import build_module
from safelight.runtime.graph import OnnxGraph

NodeAttributes = dict[str, Any]


class OnnxModule(torch.nn.Module):
    """Runs an ONNX graph in torch; it supports the operations of open-nsfw and refuses any other.

    Args:
        graph: The network; its outputs are returned as a tuple, in the graph's order.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        model = onnx.load_from_string(graph.onnx).graph
        self._nodes = list(model.node)
        self._names: dict[str, str] = {}
        self._input = model.input[0].name
        self._outputs = [output.name for output in model.output]
        if unknown := {node.op_type for node in self._nodes} - set(_OPERATIONS):
            raise ModelInvalidError(f"No TorchScript for the ONNX operations {', '.join(sorted(unknown))}.")
        for index, tensor in enumerate(model.initializer):
            self._names[tensor.name] = f"constant_{index}"
            self.register_buffer(f"constant_{index}", torch.from_numpy(numpy_helper.to_array(tensor).copy()))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run uint8 pixels [n, height, width, 3]."""
        values = {name: getattr(self, buffer) for name, buffer in self._names.items()}
        values[self._input] = pixels
        for node in self._nodes:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = _OPERATIONS[node.op_type](
                attributes, *(values[name] for name in node.input)
            )
        return tuple(values[name] for name in self._outputs)


def trace_classifier(graph: OnnxGraph, folder: Path | None) -> torch.jit.ScriptModule:
    """Trace a classifier: uint8 [n, side, side, 3] to (probabilities, embedding).

    Args:
        graph: The network.
        folder: Folder of the timm checkpoint; None for open-nsfw.
    """
    module = build_module(read_timm_config(folder)) if folder else OnnxModule(graph).eval()
    pixels = torch.zeros((2, graph.height, graph.width, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but the user has requested it
        return torch.jit.freeze(torch.jit.trace(module, (pixels,)))


def save(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write a traced module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, str(path))


def run(path: Path, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Load a written module and run it, as its users will."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        return [output.numpy() for output in torch.jit.load(str(path))(torch.from_numpy(pixels))]


def _cast(attributes: NodeAttributes, x: torch.Tensor) -> torch.Tensor:
    if attributes["to"] != onnx.TensorProto.FLOAT:
        raise ModelInvalidError("Only casts to float are known.")
    return x.float()


def _conv(
    attributes: NodeAttributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    padded = functional.pad(x, _torch_padding(attributes))
    return functional.conv2d(
        padded, weight, bias, stride=attributes["strides"], dilation=attributes.get("dilations", [1, 1])
    )


def _max_pool(attributes: NodeAttributes, x: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(x, _torch_padding(attributes), value=float("-inf"))
    return functional.max_pool2d(padded, attributes["kernel_shape"], attributes["strides"])


def _torch_padding(attributes: NodeAttributes) -> list[int]:
    """Convert ONNX's padding order (top, left, bottom, right) to torch's (left, right, top, bottom)."""
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return [left, right, top, bottom]


_OPERATIONS: MappingProxyType[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {
        "Add": lambda _, a, b: a + b,
        "AveragePool": lambda a, x: functional.avg_pool2d(x, a["kernel_shape"], a["strides"]),
        "Cast": _cast,
        "Conv": _conv,
        "Gather": lambda a, x, index: x.index_select(a.get("axis", 0), index),
        "Identity": lambda _, x: x,
        "MatMul": lambda _, a, b: a @ b,
        "MaxPool": _max_pool,
        "Relu": lambda _, x: functional.relu(x),
        "Reshape": lambda _, x, shape: x.reshape([int(n) for n in shape]),
        "Softmax": lambda a, x: x.softmax(dim=a.get("axis", -1)),
        "Sub": lambda _, a, b: a - b,
        "Transpose": lambda a, x: x.permute(list(a["perm"])),
    }
)
