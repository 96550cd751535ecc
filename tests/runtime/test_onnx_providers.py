"""Which execution providers of ONNX Runtime compute a network."""

from __future__ import annotations

import pytest

from safelight.errors import BackendError
from safelight.runtime.backends.onnx_providers import choose_providers

NVIDIA = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("available", "device", "precision", "chosen"),
    [
        (CPU, "cpu", "fp32", ["CPU"]),
        (NVIDIA, "cpu", "fp32", ["CPU"]),
        (NVIDIA, "cuda", "fp16", ["Tensorrt", "CUDA", "CPU"]),
        (NVIDIA[1:], "cuda", "bf16", ["CUDA", "CPU"]),
        (["CPUExecutionProvider", *NVIDIA[:2]], "cuda", "fp32", ["Tensorrt", "CUDA", "CPU"]),
        (["MIGraphXExecutionProvider", *CPU], "cuda", "fp16", ["MIGraphX", "CPU"]),
        (["OpenVINOExecutionProvider", *CPU], "cpu", "fp32", ["OpenVINO", "CPU"]),
        (["OpenVINOExecutionProvider", *CPU], "xpu", "fp16", ["OpenVINO", "CPU"]),
        (["DmlExecutionProvider", *CPU], "privateuseone:0", "fp16", ["Dml", "CPU"]),
        (["CoreMLExecutionProvider", *CPU], "mps", "fp32", ["CoreML", "CPU"]),
    ],
)
def test_those_of_the_device_come_first_and_the_cpu_computes_the_rest(
    available: list[str], device: str, precision: str, chosen: list[str]
) -> None:
    found = choose_providers(available, device, precision)
    assert [each.name.removesuffix("ExecutionProvider") for each in found] == chosen


def test_they_get_the_number_of_the_device() -> None:
    for each in choose_providers(NVIDIA, "cuda:1", "fp32")[:2]:
        assert each.options == {"device_id": 1}
    openvino = ["OpenVINOExecutionProvider", *CPU]
    assert choose_providers(openvino, "cpu", "fp32")[0].options == {"device_type": "CPU"}
    assert choose_providers(openvino, "xpu:1", "fp32")[0].options == {"device_type": "GPU.1"}


@pytest.mark.parametrize(
    ("available", "device", "precision", "missing"),
    [
        (CPU, "cuda", "fp32", "it has no TensorrtExecutionProvider or MIGraphXExecutionProvider or CUDA"),
        (CPU, "cpu", "bf16", "it has no execution provider that does"),
        (["MIGraphXExecutionProvider", *CPU], "cuda", "bf16", "it has no TensorrtExecutionProvider or CUDA"),
    ],
)
def test_without_one_for_the_device_and_the_precision_it_is_an_error(
    available: list[str], device: str, precision: str, missing: str
) -> None:
    with pytest.raises(BackendError, match=missing):
        choose_providers(available, device, precision)
