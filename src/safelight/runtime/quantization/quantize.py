"""Quantize weights: integers of eight and four bits in groups, nf4 in blocks, fp8 in rows."""

from __future__ import annotations

import math
from typing import Literal

import torch

from safelight.runtime.quantization.formats import Codebook4, Float8, Int4, Int8
from safelight.runtime.quantization.formats.codebooks import NF4
from safelight.runtime.quantization.formats.integers import groups_of, pack_halves
from safelight.runtime.quantization.tensor import QuantizedTensor

Target = Literal["int8", "int4", "nf4", "fp8"]
GROUPS: dict[Target, int] = {"int8": 64, "int4": 32, "nf4": 64, "fp8": 0}
"""Elements that share a scale; fp8 has one for each row."""

_SCALE_STEPS = 24
"""Scales that are tried for each group of four bits."""
_CHUNK = 1 << 17
_AT_ONCE = 1 << 18
"""Elements of the rows that are converted to eight bits at a time."""
_SMALLEST = 1e-12


def quantize_weight(weight: torch.Tensor, target: Target, group: int | None = None) -> QuantizedTensor:
    """Quantize a weight of at least two dimensions.

    Args:
        weight: A floating-point weight, rows first.
        target: int8, int4, nf4 or fp8.
        group: Elements that share a scale; by default ``GROUPS[target]``. Not for fp8.
    """
    size = GROUPS[target] if group is None else group
    if target == "int8":
        return _int8(weight.detach(), size)
    values = weight.detach().to(torch.float32)
    match target:
        case "int4":
            return _int4(values, size)
        case "nf4":
            return _nf4(values, size)
        case "fp8":
            return _fp8(values)


def _grouped(values: torch.Tensor, group: int) -> torch.Tensor:
    """Rows in groups [rows, groups, group]; the last group of a row is padded with zeros."""
    rows = values.reshape(len(values), -1)
    groups, size = groups_of(tuple(values.shape), group)
    padded = torch.nn.functional.pad(rows, (0, groups * size - rows.shape[1]))
    return padded.view(len(values), groups, size)


def _int8(weight: torch.Tensor, group: int) -> QuantizedTensor:
    """Some rows at a time: beside the result, a large weight takes little memory."""
    groups, size = groups_of(tuple(weight.shape), group)
    rows = len(weight)
    codes = weight.new_empty((rows, groups * size), dtype=torch.int8)
    scales = weight.new_empty((rows, groups), dtype=torch.bfloat16)
    for start in range(0, rows, step := max(_AT_ONCE // max(groups * size, 1), 1)):
        part = slice(start, start + step)
        grouped = _grouped(weight[part].to(torch.float32), group)
        scales[part] = _stored(grouped.abs().amax(-1) / 127)
        codes[part] = (grouped / scales[part].float().unsqueeze(-1)).round_().clamp_(-127, 127).flatten(1)
    return QuantizedTensor(Int8(group), {"codes": codes, "scales": scales}, tuple(weight.shape))


def _int4(values: torch.Tensor, group: int) -> QuantizedTensor:
    """Codes from -8 to 7; of several scales for each group the one with the least squared error."""
    grouped = _grouped(values, group)
    rows, groups, size = grouped.shape
    chunks = grouped.view(-1, size).split(max(_CHUNK // size, 1))  # which stay in the processor's cache
    scales = torch.cat([_best_scales(chunk) for chunk in chunks]).view(rows, groups)
    codes = pack_halves((_codes4(grouped, scales) + 8).flatten(1))
    return QuantizedTensor(Int4(group), {"codes": codes, "scales": scales}, tuple(values.shape))


def _best_scales(grouped: torch.Tensor) -> torch.Tensor:
    """The scale of each group, [groups] bf16."""
    extreme = grouped.gather(-1, grouped.abs().argmax(-1, keepdim=True)).squeeze(-1)
    best = torch.full(extreme.shape, math.inf)
    scales = _stored(extreme / -8)
    for step in range(_SCALE_STEPS):
        # the extreme of the group at code -8, or beyond it, or at the codes up to -6
        tried = _stored(extreme / (-6.2 - 0.12 * step))
        error = (_codes4(grouped, tried).mul_(tried.float().unsqueeze(-1)) - grouped).square_().sum(-1)
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, tried, scales)
    return scales


def _codes4(grouped: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (grouped / scales.float().unsqueeze(-1)).round_().clamp_(-8, 7)


def _stored(scales: torch.Tensor) -> torch.Tensor:
    """Scales as they are stored, in bf16, which has fp32's range: none vanishes. Never 0."""
    tiny = scales.abs() < _SMALLEST
    return torch.where(tiny, torch.full_like(scales, _SMALLEST), scales).to(torch.bfloat16)


def _nf4(values: torch.Tensor, block: int) -> QuantizedTensor:
    flat = values.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    absmax = blocks.abs().amax(-1).clamp(min=_SMALLEST)
    table = torch.tensor(NF4)
    middles = (table[1:] + table[:-1]) / 2
    codes = torch.bucketize(blocks / absmax.unsqueeze(-1), middles).to(torch.uint8)
    packed = codes[:, ::2] << 4 | codes[:, 1::2]
    parts = {"codes": packed, "absmax": absmax, "table": table}
    return QuantizedTensor(Codebook4(block), parts, tuple(values.shape))


def _fp8(values: torch.Tensor) -> QuantizedTensor:
    rows = values.reshape(len(values), -1)
    scales = rows.abs().amax(-1, keepdim=True).clamp(min=_SMALLEST) / torch.finfo(torch.float8_e4m3fn).max
    parts = {"codes": (rows / scales).to(torch.float8_e4m3fn), "scales": scales}
    return QuantizedTensor(Float8(), parts, tuple(values.shape))
