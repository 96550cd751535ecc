"""Which execution providers of ONNX Runtime compute a network: those that are installed and suit the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safelight.errors import BackendError

CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Provider:
    """An execution provider as a session takes it.

    Args:
        name: Its name in ONNX Runtime.
        options: Its options.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Known:
    """What is known of an execution provider.

    Args:
        name: Its name in ONNX Runtime.
        devices: The kinds of devices that it computes on, as torch names them.
        precisions: The precisions of the networks that it computes as they are.
    """

    name: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...]


_PROVIDERS = (  # within a device, what is faster comes first; each leaves to the next what it does not compute
    _Known("TensorrtExecutionProvider", ("cuda",), ("fp32", "fp16", "bf16")),
    _Known("MIGraphXExecutionProvider", ("cuda",), ("fp32", "fp16")),  # torch names AMD's devices cuda too
    _Known("CUDAExecutionProvider", ("cuda",), ("fp32", "fp16", "bf16")),
    _Known("DmlExecutionProvider", ("privateuseone",), ("fp32", "fp16")),
    _Known("CoreMLExecutionProvider", ("mps",), ("fp32", "fp16")),
    _Known("OpenVINOExecutionProvider", ("xpu",), ("fp32", "fp16")),
    _Known("OpenVINOExecutionProvider", ("cpu",), ("fp32",)),
    _Known(CPU, ("cpu",), ("fp32",)),
)


def choose_providers(available: Sequence[str], device: str, precision: str) -> list[Provider]:
    """The execution providers for a device, best first; the last one computes on the CPU what no other one does.

    Args:
        available: What is installed, as ``onnxruntime.get_available_providers()`` says.
        device: The device in torch's syntax, such as "cuda:1".
        precision: The precision of the network.

    Raises:
        BackendError: None of those installed computes on the device in this precision.
    """
    kind, _, index = device.partition(":")
    suitable = [each for each in _PROVIDERS if kind in each.devices and precision in each.precisions]
    chosen = [_with_options(each.name, kind, int(index or 0)) for each in suitable if each.name in available]
    if not chosen:
        lacking = " or ".join(each.name for each in suitable) or "execution provider that does"
        raise BackendError(
            f"onnxruntime cannot compute on {device} in {precision}: it has no {lacking}.",
            hint="Each kind of device has a distribution of its own: onnxruntime-gpu, onnxruntime-directml …",
        )
    return chosen if chosen[-1].name == CPU else [*chosen, Provider(CPU)]


def _with_options(name: str, kind: str, index: int) -> Provider:
    match name:
        case "OpenVINOExecutionProvider":
            return Provider(name, {"device_type": "CPU" if kind == "cpu" else f"GPU.{index}"})
        case "CoreMLExecutionProvider":
            return Provider(name, {"ModelFormat": "MLProgram"})
        case "CPUExecutionProvider":
            return Provider(name)
    return Provider(name, {"device_id": index})
