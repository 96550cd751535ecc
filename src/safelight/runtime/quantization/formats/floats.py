"""Floating point numbers of eight bits, plain or with scales."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from safelight.runtime.quantization.formats.format import Format, Parts, check_finite, check_part

_TYPES = (torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True)
class Float8(Format):
    """Floating point numbers of eight bits.

    ``codes`` [rows, elements of a row], float8_e4m3fn or float8_e5m2; ``scale`` [], for the whole weight, or ``scales``
    [rows, 1], one for each row; without either, the codes are the values.
    """

    shared: ClassVar[frozenset[str]] = frozenset({"scale"})

    def dequantize(self, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:  # noqa: D102
        codes, scale = parts["codes"], parts.get("scale", parts.get("scales"))
        if scale is None:
            return codes.to(dtype).view(shape)
        # in fp32: a scale may lie outside fp16's range, and bf16 would round it to 8 bits
        return codes.to(torch.float32).mul_(scale.to(torch.float32)).to(dtype).view(shape)

    def check(self, parts: Parts, shape: tuple[int, ...]) -> None:  # noqa: D102
        check_part(parts, "codes", (shape[0], math.prod(shape[1:])), _TYPES)
        if "scale" in parts:
            check_part(parts, "scale", ())
            check_finite(parts, "scale")
        if "scales" in parts:
            check_part(parts, "scales", (shape[0], 1))
            check_finite(parts, "scales")
