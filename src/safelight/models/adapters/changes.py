"""Changes of a layer's weight, as adapters describe them: what is to be added to the original.

Each kind computes a delta in fp32 from the original weight and a strength. Several adapters of one layer add up: each
delta is computed from the original, so that their order does not matter.

Sources: LoRA (arXiv:2106.09685); LoHa, LoKr, CP decomposition and norms as LyCORIS writes them (arXiv:2309.14859);
DoRA (arXiv:2402.09353); GLoRA (arXiv:2306.07967); OFT (arXiv:2306.07280); BOFT (arXiv:2311.06243); IA3
(arXiv:2205.05638).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """A change that is a product of two thin matrices whatever the weight is: strength * scale * up @ down.

    Args:
        down: [rank, in], or [rank, in, height, width] of a convolution with the layer's stride, padding and dilation.
        up: [out, rank], or [out, rank, 1, 1].
        scale: What the product is multiplied with.
    """

    down: Tensor
    up: Tensor
    scale: float


class WeightChange(Protocol):
    """A change of one parameter: a weight or a bias."""

    @property
    def nbytes(self) -> int:
        """Bytes of what it keeps."""

    @property
    def low_rank(self) -> LowRank | None:
        """The change as a product of two matrices; None if it is not one, or depends on the weight."""

    @property
    def reads_weight(self) -> bool:
        """Whether the delta depends on the weight's values, not on its shape and device alone."""

    def is_local(self, start: int, stop: int) -> bool:
        """Whether the delta of some rows depends on those rows of the weight alone."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Check that it fits a parameter of a shape, without computing.

        Raises:
            ValueError, RuntimeError, IndexError: It does not.
        """

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """What is added to the weight.

        Args:
            weight: The original parameter, in fp32 where ``reads_weight``.
            strength: 1 is the adapter as it was trained, 0 is no change.

        Returns:
            A new tensor of the weight's shape and device, in fp32; zeros for strength 0.

        Raises:
            ValueError, RuntimeError: The change does not fit a weight of this shape.
        """


class _Factors:
    """Base of changes that are dataclasses of tensors and numbers."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        values = (getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]
        return sum(each.nbytes for each in values if isinstance(each, Tensor | _Factors))

    @property
    def low_rank(self) -> LowRank | None:
        """None: most kinds are no plain product."""
        return None

    @property
    def reads_weight(self) -> bool:
        """False: most kinds do not depend on the weight."""
        return False

    def is_local(self, start: int, stop: int) -> bool:  # noqa: ARG002
        """True: most kinds change each row by itself."""
        return True

    def check(self, shape: tuple[int, ...]) -> None:
        """Compute the delta of a weight without data."""
        self.delta(torch.empty(shape, device="meta"), 1.0)

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """What is added to the weight."""
        raise NotImplementedError


def _on(tensor: Tensor, weight: Tensor) -> Tensor:
    """A factor where the weight is, in fp32."""
    return tensor.to(weight.device, torch.float32)


def _fit(delta: Tensor, weight: Tensor) -> Tensor:
    """A delta in the weight's shape; rows must be rows, and what is behind them may be flat."""
    if delta.shape[0] != weight.shape[0] or delta.numel() != weight.numel():
        raise ValueError(f"its shape is {list(delta.shape)}, the layer's {list(weight.shape)}")
    return delta.reshape(weight.shape)


@dataclass(frozen=True, eq=False)
class LowRankChange(_Factors):
    """LoRA, and LoCon for convolutions: scale * up @ down.

    Args:
        down: [rank, in] or [rank, in, height, width]; [rank, in, 1, 1] with ``mid``.
        up: [out, rank] or [out, rank, 1, 1].
        scale: alpha / rank, or alpha / sqrt(rank).
        mid: [rank, rank, height, width] of a convolution's CP decomposition, between the two.
    """

    down: Tensor
    up: Tensor
    scale: float
    mid: Tensor | None = None

    @property
    def low_rank(self) -> LowRank | None:
        """The product, unless there is a third factor."""
        return LowRank(self.down, self.up, self.scale) if self.mid is None else None

    def check(self, shape: tuple[int, ...]) -> None:
        """See ``WeightChange``."""
        inputs = self.down[0].numel() if self.mid is None else self.down[0].numel() * self.mid[0, 0].numel()
        if self.up[0].numel() != self.down.shape[0] or len(shape) < 2:
            raise ValueError(f"its factors have the shapes {list(self.down.shape)} and {list(self.up.shape)}")
        if (self.up.shape[0], inputs) != (shape[0], math.prod(shape[1:])):
            raise ValueError(f"its shape is {[self.up.shape[0], inputs]}, the layer's {list(shape)}")

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        down, up = _on(self.down, weight).flatten(1), _on(self.up, weight).flatten(1)
        product = up @ down if self.mid is None else self._around(_on(self.mid, weight), up, down)
        return _fit(product, weight) * (strength * self.scale)

    @staticmethod
    def _around(core: Tensor, up: Tensor, down: Tensor) -> Tensor:
        return torch.einsum("op,pq...,qi->oi...", up, core, down)


def _tucker(core: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Rows [rank, out] and columns [rank, in] around a core [rank, rank, height, width]."""
    return torch.einsum("pq...,po,qi->oi...", core, rows, columns)


@dataclass(frozen=True, eq=False)
class HadamardChange(_Factors):
    """LoHa: the product, element by element, of two low-rank matrices.

    Args:
        w1_a: [out, rank]; [rank, out] with ``t1``.
        w1_b: [rank, in * height * width]; [rank, in] with ``t1``.
        w2_a: As ``w1_a``, of the second.
        w2_b: As ``w1_b``, of the second.
        scale: alpha / rank.
        t1: [rank, rank, height, width] of a convolution's CP decomposition.
        t2: As ``t1``, of the second.
    """

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    scale: float
    t1: Tensor | None = None
    t2: Tensor | None = None

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        first = self._matrix(weight, self.w1_a, self.w1_b, self.t1)
        second = self._matrix(weight, self.w2_a, self.w2_b, self.t2)
        return _fit(first * second, weight) * (strength * self.scale)

    @staticmethod
    def _matrix(weight: Tensor, rows: Tensor, columns: Tensor, core: Tensor | None) -> Tensor:
        if core is None:
            return _on(rows, weight).flatten(1) @ _on(columns, weight).flatten(1)
        return _tucker(_on(core, weight), _on(rows, weight), _on(columns, weight))


@dataclass(frozen=True, eq=False)
class KroneckerChange(_Factors):
    """LoKr: the Kronecker product of two matrices, each whole or of low rank.

    Args:
        w1: The first, small one: whole, or its factors [a, rank] and [rank, c].
        w2: The second one: whole, or its factors; [b, d, height, width] of a convolution.
        scale: alpha / rank; 1 where both are whole.
        t2: [rank, rank, height, width] between the second's factors, which are then [rank, b] and [rank, d].
    """

    w1: Tensor | tuple[Tensor, Tensor]
    w2: Tensor | tuple[Tensor, Tensor]
    scale: float
    t2: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        pairs = [each if isinstance(each, tuple) else (each,) for each in (self.w1, self.w2)]
        factors = [tensor for pair in pairs for tensor in pair]
        return sum(int(tensor.nbytes) for tensor in (*factors, self.t2) if tensor is not None)

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        first = self._matrix(weight, self.w1, None)
        second = self._matrix(weight, self.w2, self.t2)
        first = first.reshape(*first.shape, *(1,) * (second.ndim - first.ndim))
        return _fit(torch.kron(first, second.contiguous()), weight) * (strength * self.scale)

    @staticmethod
    def _matrix(weight: Tensor, given: Tensor | tuple[Tensor, Tensor], core: Tensor | None) -> Tensor:
        if not isinstance(given, tuple):
            return _on(given, weight)
        rows, columns = (_on(each, weight) for each in given)
        if core is not None:
            return _tucker(_on(core, weight), rows, columns)
        return rows.flatten(1) @ columns.flatten(1)


@dataclass(frozen=True, eq=False)
class Difference(_Factors):
    """The whole difference of a weight, a bias or a norm.

    Args:
        difference: Of the parameter's shape.
        scale: What it is multiplied with.
    """

    difference: Tensor
    scale: float = 1.0

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        return _fit(_on(self.difference, weight), weight) * (strength * self.scale)


@dataclass(frozen=True, eq=False)
class DecomposedChange(_Factors):
    """DoRA: the changed weight's direction with a magnitude of its own.

    Args:
        change: The change of the direction.
        magnitude: [out] or [in]: the lengths of rows or of columns.
        axis: 0 for rows; 1 for columns, as older files have it.
    """

    change: WeightChange
    magnitude: Tensor
    axis: int

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return self.change.nbytes + int(self.magnitude.nbytes)

    @property
    def reads_weight(self) -> bool:
        """The direction is that of the changed weight."""
        return True

    def is_local(self, start: int, stop: int) -> bool:
        """Whether the lengths are those of rows."""
        return self.axis == 0 and self.change.is_local(start, stop)

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        magnitude = _on(self.magnitude, weight)
        if weight.ndim < 2 or len(magnitude) != weight.shape[self.axis]:
            raise ValueError(f"it has {len(magnitude)} magnitudes, the layer the shape {list(weight.shape)}")
        changed = weight + self.change.delta(weight, 1.0)
        others = [axis for axis in range(weight.ndim) if axis != self.axis]
        lengths = torch.linalg.vector_norm(changed, dim=others, keepdim=True)
        changed *= magnitude.reshape(lengths.shape) / lengths.clamp(min=torch.finfo(torch.float32).tiny)
        return (changed - weight) * strength


@dataclass(frozen=True, eq=False)
class GeneralizedChange(_Factors):
    """GLoRA: scale * (W @ a1 @ a2 + b1 @ b2).

    Args:
        a1: [in, rank].
        a2: [rank, in].
        b1: [out, rank].
        b2: [rank, in] or [rank, in, height, width]; [rank, in, 1, 1] with ``bm``.
        scale: alpha / rank.
        bm: [rank, rank, height, width] between the last two.
    """

    a1: Tensor
    a2: Tensor
    b1: Tensor
    b2: Tensor
    scale: float
    bm: Tensor | None = None

    @property
    def reads_weight(self) -> bool:
        """The weight is a factor of one of the two terms."""
        return True

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        within = _on(self.a1, weight).flatten(1) @ _on(self.a2, weight).flatten(1)
        scaled = torch.einsum("oi...,ij->oj...", weight, within)
        beside = LowRankChange(self.b2, self.b1, 1.0, self.bm).delta(weight, 1.0)
        return (scaled + beside) * (strength * self.scale)


def cayley(skew: Tensor) -> Tensor:
    """Rotations of skew-symmetric matrices [..., n, n]: (1 + Q) (1 - Q)^-1."""
    one = torch.eye(skew.shape[-1], device=skew.device)
    return torch.linalg.solve(one - skew, one + skew, left=False)


@dataclass(frozen=True, eq=False)
class OutputRotation(_Factors):
    """OFT as kohya and LyCORIS write it: blocks of rows are rotated.

    Args:
        blocks: [number, size, size]: of which the rotations are computed, or the rotations themselves.
        are_rotations: The latter, as LyCORIS once wrote them.
        constraint: The length of all blocks' skew-symmetric matrices, for each row, that is not exceeded; 0 for none.
        rescale: [out, 1 …]: what the rotated rows are multiplied with.
    """

    blocks: Tensor
    are_rotations: bool = False
    constraint: float = 0.0
    rescale: Tensor | None = None

    @property
    def reads_weight(self) -> bool:
        """The weight is rotated."""
        return True

    def is_local(self, start: int, stop: int) -> bool:
        """Whether the rows are whole blocks."""
        size = int(self.blocks.shape[-1])
        return start % size == 0 and stop % size == 0

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        rotations = self._rotations(weight)
        number, size, _ = rotations.shape
        if number * size != weight.shape[0]:
            raise ValueError(f"it rotates {number * size} rows, the layer has {weight.shape[0]}")
        rotated = torch.einsum("kij,ki...->kj...", rotations, weight.unflatten(0, (number, size))).flatten(
            0, 1
        )
        return (_rescaled(rotated, self.rescale) - weight) * strength

    def _rotations(self, weight: Tensor) -> Tensor:
        blocks = _on(self.blocks, weight)
        if self.are_rotations:
            return blocks
        return cayley(_skew(blocks, self.constraint * weight.shape[0]))


def _skew(blocks: Tensor, limit: float) -> Tensor:
    """Skew-symmetric matrices of blocks, shortened together to a length if there is one."""
    skew = blocks - blocks.transpose(-1, -2)
    if limit > 0:
        skew = skew * (limit / torch.linalg.vector_norm(skew).clamp(min=limit))
    return skew


def _rescaled(rotated: Tensor, rescale: Tensor | None) -> Tensor:
    if rescale is None:
        return rotated
    if rescale.numel() != rotated.shape[0]:
        raise ValueError(f"it rescales {rescale.numel()} rows, the layer has {rotated.shape[0]}")
    return rotated * _on(rescale, rotated).reshape(-1, *(1,) * (rotated.ndim - 1))


@dataclass(frozen=True, eq=False)
class ButterflyRotation(_Factors):
    """BOFT as LyCORIS writes it: rows are rotated in stages, between which they are exchanged.

    A strength between 0 and 1 is applied to each stage, as ComfyUI and A1111 do.

    Args:
        blocks: [stages, number, size, size].
        constraint: As in ``OutputRotation``.
        rescale: As in ``OutputRotation``.
    """

    blocks: Tensor
    constraint: float = 0.0
    rescale: Tensor | None = None

    @property
    def reads_weight(self) -> bool:
        """The weight is rotated."""
        return True

    def is_local(self, start: int, stop: int) -> bool:  # noqa: ARG002
        """False: the stages mix all rows."""
        return False

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        if strength == 0:
            return torch.zeros_like(weight)
        rotations = cayley(_skew(_on(self.blocks, weight), self.constraint * weight.shape[0]))
        size = rotations.shape[-1]
        if rotations.shape[1] * size != weight.shape[0]:
            raise ValueError(f"it rotates {rotations.shape[1] * size} rows, the layer has {weight.shape[0]}")
        one = torch.eye(size, device=weight.device)
        rows = weight
        for stage, rotation in enumerate(rotations):
            apart = 2**stage * size // 2
            rows = rows.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2)
            part = rotation * strength + one * (1 - strength)
            rows = torch.einsum("bij,bj...->bi...", part, rows.unflatten(0, (-1, size))).flatten(0, 1)
            rows = rows.unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
        if self.rescale is not None:
            rows = rows + (_rescaled(rows, self.rescale) - rows) * strength
        return rows - weight


@dataclass(frozen=True, eq=False)
class InputRotation(_Factors):
    """OFT as peft writes it: blocks of inputs are rotated.

    Args:
        skew: [number, size * (size - 1) / 2]: the upper triangles of skew-symmetric matrices; number 1 where all
            blocks share one.
        terms: Terms of the Neumann series that stands for the rotation; 0 for the exact one.
    """

    skew: Tensor
    terms: int

    @property
    def reads_weight(self) -> bool:
        """The weight is rotated."""
        return True

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        rotations = self._rotations(weight)
        number, size, _ = rotations.shape
        inputs = weight.flatten(1)
        if inputs.shape[1] % size or number not in (1, inputs.shape[1] // size):
            raise ValueError(f"it rotates {number * size} inputs, the layer has {inputs.shape[1]}")
        blocks = rotations.expand(inputs.shape[1] // size, -1, -1)
        rotated = torch.einsum("okc,kic->oki", inputs.unflatten(1, (-1, size)), blocks)
        return (rotated.reshape(weight.shape) - weight) * strength

    def _rotations(self, weight: Tensor) -> Tensor:
        given = _on(self.skew, weight)
        size = round((1 + (1 + 8 * given.shape[1]) ** 0.5) / 2)
        if size * (size - 1) // 2 != given.shape[1]:
            raise ValueError(f"it has {given.shape[1]} numbers for a block, which are no triangle")
        rows, columns = torch.triu_indices(size, size, 1, device=weight.device)
        skew = given.new_zeros(given.shape[0], size, size)
        skew[:, rows, columns] = given
        skew = skew - skew.transpose(1, 2)
        if not self.terms:
            return cayley(-skew)
        series = torch.eye(size, device=weight.device).expand_as(skew).clone()
        power = series
        for term in range(1, self.terms):
            power = power @ skew
            series = series + (power if 2 < self.terms == term + 1 else 2 * power)
        return series


@dataclass(frozen=True, eq=False)
class Scaling(_Factors):
    """IA3: rows or columns are multiplied; of a bias, its elements.

    Args:
        factors: One for each row or column, less 1: 0 changes nothing.
        axis: 0 for rows, that is outputs; 1 for columns, inputs.
    """

    factors: Tensor
    axis: int

    @property
    def reads_weight(self) -> bool:
        """The weight is multiplied."""
        return True

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        if weight.ndim <= self.axis or self.factors.numel() != weight.shape[self.axis]:
            raise ValueError(f"it scales {self.factors.numel()} rows or columns of {list(weight.shape)}")
        shape = [1] * weight.ndim
        shape[self.axis] = -1
        return weight * _on(self.factors, weight).reshape(shape) * strength


@dataclass(frozen=True, eq=False)
class RowsOf(_Factors):
    """Some rows of a change of a layer that the network has in parts, or with its rows in another order.

    Args:
        change: The change of the whole layer.
        rows: [n]: the whole layer's row for each row of the part.
        total: Rows of the whole layer.
    """

    change: WeightChange
    rows: Tensor
    total: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole layer's change: all parts share it, and so each has its share."""
        return self.change.nbytes * len(self.rows) // self.total

    @property
    def reads_weight(self) -> bool:
        """As the change of the whole layer."""
        return self.change.reads_weight

    def is_local(self, start: int, stop: int) -> bool:  # noqa: ARG002
        """False: a part is not divided further."""
        return False

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        rows = self.rows.to(weight.device)
        shape = (self.total, *weight.shape[1:])
        if self.change.reads_weight:
            whole = weight.new_zeros(shape)
            whole[rows] = weight
        else:
            whole = weight.new_zeros(()).expand(shape)
        return self.change.delta(whole, strength)[rows]


def take_rows(change: WeightChange, rows: Tensor, total: int) -> WeightChange:
    """The change of some rows of a layer.

    Args:
        change: The change of the whole layer.
        rows: [n]: which rows, in the part's order.
        total: Rows of the whole layer.

    Raises:
        ValueError: It depends on other rows too.
    """
    start, stop = int(rows[0]), int(rows[-1]) + 1
    if len(rows) < total and change.reads_weight and not change.is_local(start, stop):
        raise ValueError("it mixes the rows of layers that the checkpoint has apart")
    if isinstance(change, LowRankChange):
        if change.up.shape[0] != total:
            raise ValueError(f"it has {change.up.shape[0]} outputs, the layer {total}")
        return LowRankChange(change.down, change.up[rows], change.scale, change.mid)
    return RowsOf(change, rows, total)


@dataclass(frozen=True, eq=False)
class SumOfChanges(_Factors):
    """Several changes of one parameter in one file.

    Args:
        changes: They.
    """

    changes: tuple[WeightChange, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return sum(each.nbytes for each in self.changes)

    @property
    def reads_weight(self) -> bool:
        """Whether one of them does."""
        return any(each.reads_weight for each in self.changes)

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """See ``WeightChange``."""
        first, *others = (each.delta(weight, strength) for each in self.changes)
        for other in others:
            first += other
        return first
