from __future__ import annotations

from typing import get_args

import pytest
import torch

from safelight.runtime.quantization import quantize
from safelight.runtime.quantization.block_sizes import BLOCK_SIZES
from safelight.runtime.quantization.formats import Codebook4, Float8, Gguf, Int4, Int8, Parts
from safelight.runtime.quantization.formats.format import Format
from safelight.runtime.quantization.quantize import GROUPS, Target, quantize_weight
from safelight.runtime.quantization.tensor import QuantizedTensor, dequantize_network, stored_nbytes

TARGETS: tuple[Target, ...] = get_args(Target)
ERRORS = {"int8": 0.006, "fp8": 0.03, "int4": 0.09, "nf4": 0.1}
BITS = {"int8": 8.25, "fp8": 8.1, "int4": 4.5, "nf4": 4.51}


def relative_error(weight: torch.Tensor, quantized: QuantizedTensor) -> float:
    """The norm of the difference as a share of the weight's norm."""
    return float((quantized.dequantize(torch.float32) - weight).norm() / weight.norm())


@pytest.mark.parametrize("shape", [(64, 640), (64, 71), (6, 3, 3, 3), (5, 1), (1, 129), (4, 7, 5)])
@pytest.mark.parametrize("target", TARGETS)
def test_a_weight_of_any_shape(target: Target, shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    quantized = quantize_weight(weight, target)
    assert quantized.shape == shape
    quantized.format.check(quantized.packed, shape)
    assert relative_error(weight, quantized) < ERRORS[target] * 1.5
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert quantized.dequantize(dtype).dtype == dtype
    difference = quantized.dequantize(torch.bfloat16).float() - quantized.dequantize().bfloat16().float()
    assert difference.abs().max() == 0  # rounded once


@pytest.mark.parametrize("target", TARGETS)
def test_errors_and_sizes(target: Target) -> None:
    weight = torch.randn(256, 1280, generator=torch.Generator().manual_seed(2))
    quantized = quantize_weight(weight, target)
    assert relative_error(weight, quantized) < ERRORS[target]
    assert stored_nbytes(quantized) * 8 / weight.numel() < BITS[target] + 0.01


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30])
def test_extreme_weights(target: Target, value: float) -> None:
    weight = torch.full((4, 64), value)
    result = quantize_weight(weight, target).dequantize()
    assert torch.isfinite(result).all()
    assert torch.allclose(result, weight, rtol=0.1, atol=1e-12)


def test_eight_bits_are_the_same_whatever_number_of_rows_is_converted_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = torch.randn(70, 30, 3, 3).bfloat16()
    at_once = quantize_weight(weight, "int8")
    monkeypatch.setattr(quantize, "_AT_ONCE", 3 * 320)
    in_parts = quantize_weight(weight, "int8")
    assert all(torch.equal(part, in_parts.packed[role]) for role, part in at_once.packed.items())


def test_the_search_for_scales_is_worth_it() -> None:
    weight = torch.randn(64, 320, generator=torch.Generator().manual_seed(3))
    grouped = weight.view(64, 10, 32)
    extreme = grouped.gather(-1, grouped.abs().argmax(-1, keepdim=True))
    plain = (grouped / (extreme / -8)).round().clamp(-8, 7) * (extreme / -8)
    error = float((plain.view(64, 320) - weight).norm() / weight.norm())
    assert relative_error(weight, quantize_weight(weight, "int4")) < 0.95 * error


def test_a_network_with_plain_weights_again() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Conv2d(4, 8, 3))
    for layer in network:
        layer.weight = torch.nn.Parameter(quantize_weight(layer.weight, "int8"), requires_grad=False)
    image, row = torch.randn(1, 4, 5, 5), torch.randn(1, 64)
    expected = network[0](row), network[1](image)
    dequantize_network(network)
    assert not any(isinstance(weight, QuantizedTensor) for weight in network.parameters())
    assert torch.equal(network[0](row), expected[0])
    assert torch.equal(network[1](image), expected[1])


@pytest.mark.parametrize(
    ("kind", "parts", "says"),
    [
        (Int8(4), {"codes": torch.zeros(2, 8, dtype=torch.int8)}, "scales are missing"),
        (Int8(4), {"codes": torch.zeros(2, 8), "scales": torch.ones(2, 2)}, "codes are of the type float32"),
        (Int8(4), {"codes": torch.zeros(2, 8, dtype=torch.int8), "scales": torch.ones(2, 1)}, r"not \[2, 2\]"),
        (Int4(4), {"codes": torch.zeros(2, 8, dtype=torch.uint8)}, r"shape \[2, 8\], not \[2, 4\]"),
        (
            Int8(4),
            {
                "codes": torch.zeros(2, 8, dtype=torch.int8),
                "scales": torch.ones(2, 2),
                "zeros": torch.full((2, 2), torch.nan),
            },
            "zeros are not finite",
        ),
        (Float8(), {"codes": torch.zeros(2, 8)}, "type float32"),
        (Gguf("Q8_0"), {"blocks": torch.zeros(3, 34, dtype=torch.uint8)}, r"not \[0, 34\]"),
        (Codebook4(), {"codes": torch.zeros(1, 32, dtype=torch.uint8)}, "table are missing"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(kind: Format, parts: Parts, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind.check(parts, (2, 8))


def test_every_block_type_has_its_arithmetic() -> None:
    for kind, (elements, nbytes) in BLOCK_SIZES.items():
        packed = Gguf(kind)
        assert packed.block == elements
        result = packed.dequantize(
            {"blocks": torch.zeros(2, nbytes, dtype=torch.uint8)}, (2, elements), torch.float16
        )
        assert torch.equal(result, torch.zeros(2, elements, dtype=torch.float16))
    assert set(GROUPS) == set(TARGETS)
