"""The block types of GGUF files (llama.cpp's ggml), each block with its scales inside.

The layouts are those of ggml-common.h; the arithmetic is that of ggml's reference ``dequantize_row_*``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from safelight.runtime.quantization.block_sizes import BLOCK_SIZES
from safelight.runtime.quantization.formats.format import Format, Parts, check_part

_CHUNK_BYTES = 1 << 24
"""Packed bytes that are dequantized at once: temporary tensors in fp32 stay small."""

_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True)
class Gguf(Format):
    """A block type of GGUF.

    ``blocks`` [blocks, bytes of a block] uint8.

    Args:
        kind: The type's name, a key of ``BLOCK_SIZES``.
    """

    kind: str = "Q8_0"

    @property
    def block(self) -> int:  # type: ignore[override]
        """Elements of a block."""
        return BLOCK_SIZES[self.kind][0]

    def dequantize(self, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:  # noqa: D102
        blocks, values = parts["blocks"], _VALUES[self.kind]
        elements, nbytes = BLOCK_SIZES[self.kind]
        size = max(_CHUNK_BYTES // nbytes, 1)
        if len(blocks) <= size:
            return values(blocks).to(dtype).reshape(shape)
        weight = torch.empty(len(blocks), elements, dtype=dtype, device=blocks.device)
        for start in range(0, len(blocks), size):
            weight[start : start + size] = values(blocks[start : start + size])
        return weight.reshape(shape)

    def check(self, parts: Parts, shape: tuple[int, ...]) -> None:  # noqa: D102
        elements, nbytes = BLOCK_SIZES[self.kind]
        check_part(parts, "blocks", (math.prod(shape) // elements, nbytes), (torch.uint8,))


def _half(blocks: torch.Tensor, at: int) -> torch.Tensor:
    """The fp16 number at a byte of each block, in fp32 [blocks, 1]."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: torch.Tensor, run: int) -> torch.Tensor:
    """Halves of bytes: of each run of bytes first the lower halves, then the upper ones. [blocks, 2 n] uint8."""
    runs = packed.reshape(len(packed), -1, 1, run)
    return torch.cat([runs & 0xF, runs >> 4], dim=2).flatten(1)


def _bits(packed: torch.Tensor, width: int, run: int) -> torch.Tensor:
    """Fields of ``width`` bits: of each run of bytes first the lowest fields, then the next. [blocks, …] uint8."""
    runs = packed.reshape(len(packed), -1, 1, run)
    mask = (1 << width) - 1
    return torch.cat([(runs >> shift) & mask for shift in range(0, 8, width)], dim=2).flatten(1)


def _high_bits(blocks: torch.Tensor, at: int) -> torch.Tensor:
    """The 32 bits at a byte, the lowest first. [blocks, 32] uint8."""
    word = blocks[:, at : at + 4].unsqueeze(-1)
    return torch.cat([(word >> shift) & 1 for shift in range(8)], dim=-1).flatten(1)


def _q4_0(b: torch.Tensor) -> torch.Tensor:
    return _half(b, 0) * (_nibbles(b[:, 2:], 16).float() - 8)


def _q4_1(b: torch.Tensor) -> torch.Tensor:
    return _half(b, 0) * _nibbles(b[:, 4:], 16).float() + _half(b, 2)


def _q5_0(b: torch.Tensor) -> torch.Tensor:
    return _half(b, 0) * ((_nibbles(b[:, 6:], 16) | _high_bits(b, 2) << 4).float() - 16)


def _q5_1(b: torch.Tensor) -> torch.Tensor:
    return _half(b, 0) * (_nibbles(b[:, 8:], 16) | _high_bits(b, 4) << 4).float() + _half(b, 2)


def _q8_0(b: torch.Tensor) -> torch.Tensor:
    return _half(b, 0) * b[:, 2:].contiguous().view(torch.int8).float()


def _q2_k(b: torch.Tensor) -> torch.Tensor:
    scales = b[:, :16]
    low = (_half(b, 80) * (scales & 0xF).float()).unsqueeze(-1)
    minimum = (_half(b, 82) * (scales >> 4).float()).unsqueeze(-1)
    return (low * _bits(b[:, 16:80], 2, 32).view(-1, 16, 16).float() - minimum).flatten(1)


def _q3_k(b: torch.Tensor) -> torch.Tensor:
    packed = b[:, 96:108]
    scales = (_nibbles(packed[:, :8], 8) | _bits(packed[:, 8:], 2, 4) << 4).float() - 32
    high = 1 - _bits(b[:, :32], 1, 32).float()
    codes = _bits(b[:, 32:96], 2, 32).float() - 4 * high
    return (_half(b, 108) * scales).unsqueeze(-1).mul(codes.view(-1, 16, 16)).flatten(1)


def _scales_and_minima(packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight scales and eight minima of six bits out of twelve bytes."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:12]
    scales = torch.cat([first & 0x3F, (third & 0xF) | (first >> 2 & 0x30)], dim=1)
    minima = torch.cat([second & 0x3F, (third >> 4) | (second >> 2 & 0x30)], dim=1)
    return scales.float(), minima.float()


def _q4_k(b: torch.Tensor) -> torch.Tensor:
    scales, minima = _scales_and_minima(b[:, 4:16])
    codes = _nibbles(b[:, 16:], 32).view(-1, 8, 32).float()
    return ((_half(b, 0) * scales).unsqueeze(-1) * codes - (_half(b, 2) * minima).unsqueeze(-1)).flatten(1)


def _q5_k(b: torch.Tensor) -> torch.Tensor:
    scales, minima = _scales_and_minima(b[:, 4:16])
    codes = (_nibbles(b[:, 48:], 32) | _bits(b[:, 16:48], 1, 32) << 4).view(-1, 8, 32).float()
    return ((_half(b, 0) * scales).unsqueeze(-1) * codes - (_half(b, 2) * minima).unsqueeze(-1)).flatten(1)


def _q6_k(b: torch.Tensor) -> torch.Tensor:
    codes = (_nibbles(b[:, :128], 64) | _bits(b[:, 128:192], 2, 32) << 4).float() - 32
    scales = _half(b, 208) * b[:, 192:208].contiguous().view(torch.int8).float()
    return (scales.unsqueeze(-1) * codes.view(-1, 16, 16)).flatten(1)


def _iq4(codes: torch.Tensor) -> torch.Tensor:
    return torch.tensor(_IQ4, dtype=torch.float32, device=codes.device)[codes.to(torch.int32)]


def _iq4_nl(b: torch.Tensor) -> torch.Tensor:
    return _half(b, 0) * _iq4(_nibbles(b[:, 2:], 16))


def _iq4_xs(b: torch.Tensor) -> torch.Tensor:
    high = torch.cat([(b[:, 2:4, None] >> shift) & 3 for shift in (0, 2, 4, 6)], dim=-1).flatten(1)
    low = torch.stack([b[:, 4:8] & 0xF, b[:, 4:8] >> 4], dim=-1).flatten(1)
    scales = _half(b, 0) * ((low | high << 4).float() - 32)
    return (scales.unsqueeze(-1) * _iq4(_nibbles(b[:, 8:], 16)).view(-1, 8, 32)).flatten(1)


_VALUES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
}
"""What computes the values of blocks [blocks, bytes] by type, in fp32 [blocks, elements]."""
