"""The built-in backends."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.runtime.backends import EAGER, Backend

_FORMS = "safelight.runtime.backends.{}_forms:{}"


@hookimpl
def register_backends(registry: Registry[Backend]) -> None:
    """Register ONNX Runtime, the reference for classifiers; OpenVINO; eager, the reference for checkpoints.

    And those that compile forms of checkpoints only: Inductor and TensorRT.
    """
    onnxruntime = Backend(
        "onnxruntime",
        ("fp32",),
        _function("onnxruntime"),
        package="onnxruntime",
        components=("*",),
        forms=_FORMS.format("onnxruntime", "OnnxRuntimeForms"),
        devices={
            "cpu": ("fp32",),
            "cuda": ("fp32", "fp16", "bf16"),
            "xpu": ("fp32", "fp16"),
            "mps": ("fp32", "fp16"),
            "privateuseone": ("fp32", "fp16"),
        },
    )
    registry.register("onnxruntime", onnxruntime)
    openvino = Backend(
        "openvino",
        ("fp32", "bf16"),
        _function("openvino"),
        package="openvino",
        quantized_graphs=True,
        components=("*",),
        forms=_FORMS.format("openvino", "OpenVinoForms"),
        devices={"cpu": ("fp32", "bf16")},
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
    inductor = Backend(
        "inductor",
        ("fp32", "bf16", "fp16"),
        "",
        package="torch",
        graphs=False,
        components=("*",),
        forms=_FORMS.format("inductor", "InductorForms"),
        devices={
            "cpu": ("fp32", "bf16"),
            "cuda": ("fp32", "bf16", "fp16"),
            "xpu": ("fp32", "bf16", "fp16"),
        },
        native=True,
        copies=3.5,  # eager, packed, and as bytes that are written
        programs=("c++", "g++", "clang++", "cl"),
    )
    registry.register("inductor", inductor)
    tensorrt = Backend(
        "tensorrt",
        ("fp32", "bf16", "fp16"),
        "",
        package="torch-tensorrt",
        graphs=False,
        components=("*",),
        forms=_FORMS.format("tensorrt", "TensorRtForms"),
        devices={"cuda": ("fp32", "bf16", "fp16")},
        native=True,
    )
    registry.register("tensorrt", tensorrt)


def _function(name: str) -> str:
    return f"safelight.runtime.backends.{name}:compile_{name}"
