"""Numbers of four bits that are looked up in a table of sixteen: nf4 and fp4, in blocks, as bitsandbytes has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from safelight.runtime.quantization.formats.format import Format, Parts, check_finite, check_part

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Quantiles of the normal distribution (QLoRA, arXiv:2305.14314, appendix E)."""


@dataclass(frozen=True)
class Codebook4(Format):
    """Indices of four bits into a table of sixteen values, two to a byte, the first in the upper half.

    ``codes`` [blocks, block / 2] uint8; ``absmax`` [blocks], what the table's values are multiplied with; ``table``
    [16]. Where ``nested`` is not 0, ``absmax`` are indices (uint8) into ``absmax_table`` [256], multiplied with
    ``absmax_scales``, one for each ``nested`` of them, plus ``absmax_offset`` [].

    Args:
        block: Elements that share a scale; the last block may be padded.
        nested: Scales that share a scale of their own.
    """

    shared: ClassVar[frozenset[str]] = frozenset({"table"})
    block: int = 64
    nested: int = 0

    def dequantize(self, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:  # noqa: D102
        codes = parts["codes"]
        table = parts["table"].to(torch.float32)
        absmax = self._absmax(parts)
        # one byte is two values: looking up pairs halves the look-ups
        pairs = torch.stack([table.repeat_interleave(16), table.repeat(16)], dim=-1)
        weight = torch.nn.functional.embedding(codes.to(torch.int32), pairs).flatten(1)
        weight.mul_(absmax.unsqueeze(-1))
        return weight.flatten()[: math.prod(shape)].to(dtype).reshape(shape)

    def check(self, parts: Parts, shape: tuple[int, ...]) -> None:  # noqa: D102
        blocks = -(-math.prod(shape) // self.block)
        check_part(parts, "codes", (blocks, self.block // 2), (torch.uint8,))
        check_part(parts, "table", (16,))
        if self.nested:
            check_part(parts, "absmax", (blocks,), (torch.uint8,))
            check_part(parts, "absmax_table", (256,))
            check_part(parts, "absmax_scales", (-(-blocks // self.nested),))
            check_part(parts, "absmax_offset", ())
        else:
            check_part(parts, "absmax", (blocks,), (torch.float32, torch.float16, torch.bfloat16))
        for role in parts:
            check_finite(parts, role)

    def sliceable(self, parts: Parts) -> tuple[Format, Parts]:  # noqa: D102
        if not self.nested:
            return self, parts
        kept = {"codes": parts["codes"], "table": parts["table"], "absmax": self._absmax(parts)}
        return Codebook4(self.block), kept

    def _absmax(self, parts: Parts) -> torch.Tensor:
        if not self.nested:
            return parts["absmax"].to(torch.float32)
        values = parts["absmax_table"].to(torch.float32)[parts["absmax"].to(torch.int32)]
        scales = parts["absmax_scales"].to(torch.float32).repeat_interleave(self.nested)
        return values * scales[: len(values)] + parts["absmax_offset"].to(torch.float32)
