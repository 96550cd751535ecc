"""The built-in backends."""

from __future__ import annotations

from safelight.plugins import Registry, hookimpl
from safelight.runtime.backends import Backend


@hookimpl
def register_backends(registry: Registry[Backend]) -> None:
    """Register ONNX Runtime, the reference, and OpenVINO."""
    for name, precisions in (("onnxruntime", ("fp32",)), ("openvino", ("fp32", "bf16"))):
        compile_ = f"safelight.runtime.backends.{name}:compile_{name}"
        registry.register(name, Backend(name, precisions, compile_, package=name))
