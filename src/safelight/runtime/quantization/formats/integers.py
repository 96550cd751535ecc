"""Integers of eight and of four bits, with a scale for each group of a row's elements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from safelight.runtime.quantization.formats.format import Format, Parts, check_finite, check_part

SLICE_ELEMENTS = 2**24
"""How many elements are converted at once, where the arithmetic needs more bytes than the result has."""


@dataclass(frozen=True)
class Int8(Format):
    """Signed integers of eight bits.

    ``codes`` [rows, groups * group] int8, ``scales`` [rows, groups], and optionally ``zeros`` [rows, groups], which are
    subtracted from the codes. The last group of a row may be padded.

    Args:
        group: Elements that share a scale; 0 for whole rows.
    """

    group: int = 0

    def dequantize(self, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:  # noqa: D102
        return _scale(parts["codes"], parts, shape, dtype)

    def check(self, parts: Parts, shape: tuple[int, ...]) -> None:  # noqa: D102
        groups, group = groups_of(shape, self.group)
        check_part(parts, "codes", (shape[0], groups * group), (torch.int8, torch.uint8))
        _check_scales(parts, shape[0], groups)


@dataclass(frozen=True)
class Int4(Format):
    """Integers of four bits, two to a byte, the first in the lower half.

    ``codes`` [rows, groups * group / 2] uint8, each half 0 … 15; ``scales`` [rows, groups]; ``zeros`` [rows, groups]
    are subtracted from the codes, by default 8. The last group of a row may be padded.

    Args:
        group: Elements that share a scale, an even number; 0 for whole rows.
    """

    group: int = 0

    def dequantize(self, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:  # noqa: D102
        codes = unpack_halves(parts["codes"])
        if "zeros" not in parts:
            codes = codes.to(torch.int8) - 8
        return _scale(codes, parts, shape, dtype)

    def check(self, parts: Parts, shape: tuple[int, ...]) -> None:  # noqa: D102
        groups, group = groups_of(shape, self.group)
        check_part(parts, "codes", (shape[0], groups * group // 2), (torch.uint8,))
        _check_scales(parts, shape[0], groups)


def groups_of(shape: tuple[int, ...], group: int) -> tuple[int, int]:
    """How many groups a row has, and how many elements a group."""
    columns = math.prod(shape[1:])
    if not group:
        return 1, columns + columns % 2
    return -(-columns // group), group


def unpack_halves(codes: torch.Tensor) -> torch.Tensor:
    """Bytes [rows, n] to their halves [rows, 2 n], the lower first."""
    return torch.stack([codes & 0xF, codes >> 4], dim=-1).flatten(-2)


def pack_halves(codes: torch.Tensor) -> torch.Tensor:
    """Values 0 … 15 [rows, 2 n] to bytes [rows, n]."""
    pairs = codes.to(torch.uint8).unflatten(-1, (-1, 2))
    return pairs[..., 0] | pairs[..., 1] << 4


def _scale(codes: torch.Tensor, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Codes times scales; in fp32 for bf16, unless the scales have no more bits either, and then in slices of rows."""
    rows, columns = shape[0], math.prod(shape[1:])
    scales = parts["scales"]
    arithmetic = torch.float32 if dtype == torch.bfloat16 != scales.dtype else dtype

    def scaled(part: slice) -> torch.Tensor:
        weight = codes[part].to(arithmetic).view(len(codes[part]), scales.shape[1], -1)
        if "zeros" in parts:
            weight -= parts["zeros"][part].to(arithmetic).unsqueeze(-1)
        weight *= scales[part].to(arithmetic).unsqueeze(-1)
        return weight.flatten(1)[:, :columns].to(dtype)

    count = max(1, SLICE_ELEMENTS // max(1, columns))
    if arithmetic == dtype or rows <= count:
        return scaled(slice(None)).reshape(shape)
    result = torch.empty((rows, columns), dtype=dtype, device=codes.device)
    for start in range(0, rows, count):
        part = slice(start, start + count)
        result[part] = scaled(part)
    return result.view(shape)


def _check_scales(parts: Parts, rows: int, groups: int) -> None:
    check_part(parts, "scales", (rows, groups), (torch.float32, torch.float16, torch.bfloat16))
    check_finite(parts, "scales")
    if "zeros" in parts:
        check_part(parts, "zeros", (rows, groups))
        check_finite(parts, "zeros")
