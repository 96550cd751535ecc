"""What a quantization format has to say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch

Parts = Mapping[str, torch.Tensor]
"""The stored tensors of a quantized tensor by their role: codes, scales …"""


class Format(ABC):
    """How weights are packed. Instances are immutable and hashable, and hold no tensors.

    A format is either laid out in rows (``block`` is 1, and each part has a row for each row of the weight) or in
    blocks of ``block`` consecutive elements (each part has a row for each block). Parts in ``shared`` belong to the
    whole weight.
    """

    block: int = 1
    shared: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def dequantize(self, parts: Parts, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The weight in a floating-point type, contiguous, in its logical shape."""

    def check(self, parts: Parts, shape: tuple[int, ...]) -> None:  # noqa: B027  most are checked by their shapes
        """Refuse parts that do not make a weight of this shape.

        Raises:
            ValueError: A part is missing, or has the wrong shape or values.
        """

    def sliceable(self, parts: Parts) -> tuple[Format, Parts]:
        """The same weight in a form whose rows can be taken apart."""
        return self, parts

    def rows_between(self, parts: Parts, shape: tuple[int, ...], start: int, stop: int) -> Parts | None:
        """The parts of some rows of the weight; None where a block covers two rows."""
        step = self._part_rows(shape)
        if step is None:
            return None
        return {
            role: part if role in self.shared else part[start * step : stop * step]
            for role, part in parts.items()
        }

    def rows_at(self, parts: Parts, shape: tuple[int, ...], index: torch.Tensor) -> Parts | None:
        """The parts of the rows with these numbers; None where a block covers two rows."""
        step = self._part_rows(shape)
        if step is None:
            return None
        return {
            role: part
            if role in self.shared
            else part.reshape(shape[0], step, *part.shape[1:])[index].flatten(0, 1)
            for role, part in parts.items()
        }

    def concatenate(self, several: list[Parts], shapes: list[tuple[int, ...]]) -> Parts | None:
        """The parts of weights one below the other; None where they cannot be joined."""
        if any(self._part_rows(shape) is None for shape in shapes):
            return None
        first = several[0]
        if any(
            not torch.equal(first[role], other[role])
            for role in self.shared & first.keys()
            for other in several
        ):
            return None
        return {
            role: part if role in self.shared else torch.cat([parts[role] for parts in several])
            for role, part in first.items()
        }

    def _part_rows(self, shape: tuple[int, ...]) -> int | None:
        """Rows of each part for one row of the weight."""
        if not shape:
            return None
        if self.block == 1:
            return 1
        row = math.prod(shape[1:])
        return row // self.block if row % self.block == 0 else None


def check_part(parts: Parts, role: str, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...] = ()) -> None:
    """Refuse a part that is missing or of another shape or type.

    Raises:
        ValueError: It is.
    """
    part = parts.get(role)
    if part is None:
        raise ValueError(f"its {role} are missing")
    if tuple(part.shape) != shape:
        raise ValueError(f"its {role} have the shape {list(part.shape)}, not {list(shape)}")
    if dtypes and part.dtype not in dtypes:
        raise ValueError(f"its {role} are of the type {str(part.dtype).removeprefix('torch.')}")


def check_finite(parts: Parts, role: str) -> None:
    """Refuse scales that are not finite.

    Raises:
        ValueError: They are not.
    """
    part = parts[role]
    if part.is_floating_point() and not bool(torch.isfinite(part.float()).all()):
        raise ValueError(f"its {role} are not finite")
