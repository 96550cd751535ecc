"""The built-in backends."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.runtime.backends import EAGER, Backend


@hookimpl
def register_backends(registry: Registry[Backend]) -> None:
    """Register ONNX Runtime, the reference for classifiers; OpenVINO; and eager, the reference for checkpoints."""
    registry.register(
        "onnxruntime",
        Backend("onnxruntime", ("fp32",), _function("onnxruntime"), package="onnxruntime"),
    )
    openvino = Backend(
        "openvino",
        ("fp32", "bf16"),
        _function("openvino"),
        package="openvino",
        quantized_graphs=True,
        components=("*",),
        forms="safelight.runtime.backends.openvino_forms:OpenVinoForms",
        devices=("cpu",),
    )
    registry.register("openvino", openvino)
    eager = Backend(
        EAGER,
        ("fp32", "bf16", "fp16"),
        _function(EAGER),
        package="torch",
        graphs=False,
        components=("*",),
        patchable=True,
    )
    registry.register(EAGER, eager)


def _function(name: str) -> str:
    return f"safelight.runtime.backends.{name}:compile_{name}"
