"""Make changes of weights from the tensors that an adapter's file has for a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from safelight.models.adapters.changes import (
    ButterflyRotation,
    DecomposedChange,
    Difference,
    GeneralizedChange,
    HadamardChange,
    InputRotation,
    KroneckerChange,
    LowRankChange,
    OutputRotation,
    Scaling,
    WeightChange,
)
from safelight.models.adapters.peft_options import PeftOptions

Parts = Mapping[str, Tensor]
Changes = dict[str, WeightChange]
"""The changes of a layer's parameters: weight, bias."""
_BOTH = "it lacks one of two factors"


@dataclass(frozen=True)
class LayerShape:
    """A layer as it is in the network.

    Args:
        weight: The shape of its weight; of the whole layer, where the network has it in parts.
        has_bias: It has a bias.
    """

    weight: tuple[int, ...]
    has_bias: bool


def make_changes(kind: str, parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:
    """The changes of a layer.

    Args:
        kind: How it is changed, from ``LayerKeys.kind``.
        parts: The tensors by their part.
        layer: The layer.
        options: What the file says of peft's configuration.
        module: The layer's name in the library, by which the options may differ.

    Raises:
        ValueError: A tensor is missing, or has another shape than its kind needs.
    """
    changes = _MAKERS[kind](parts, layer, options, module)
    if "magnitude" in parts or "row magnitude" in parts:
        if "weight" not in changes:
            raise ValueError("it has magnitudes and no change of the weight")
        changes["weight"] = _decomposed(changes["weight"], parts, layer)
    extra = _differences(parts)
    if both := extra.keys() & changes.keys():
        raise ValueError(f"it changes its {sorted(both)[0]} in two ways")
    return changes | extra


def _take(parts: Parts, *names: str) -> list[Tensor]:
    try:
        return [parts[name] for name in names]
    except KeyError as error:
        raise ValueError(f"{_BOTH}: {error.args[0]}") from error


def _alpha(parts: Parts) -> float | None:
    if "alpha" not in parts:
        return None
    if parts["alpha"].numel() != 1:
        raise ValueError(f"its alpha has the shape {list(parts['alpha'].shape)}")
    return float(parts["alpha"])


def _scale(parts: Parts, rank: int, options: PeftOptions, module: str) -> float:
    """What a product of factors is multiplied with: alpha / rank; 1 where the file says nothing."""
    if rank < 1:
        raise ValueError("its rank is 0")
    alpha = _alpha(parts)
    if alpha is not None:
        return alpha / rank
    alpha = options.alpha(module)
    if alpha is None:
        return 1.0
    return alpha / (math.sqrt(rank) if options.rank_stabilized else rank)


def _low_rank(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    down, up = _take(parts, "down", "up")
    if down.ndim < 2 or up.ndim < 2:
        raise ValueError("a factor is no matrix")
    mid = parts.get("mid")
    if up.shape[1] != down.shape[0]:
        raise ValueError(f"its factors have the ranks {down.shape[0]} and {up.shape[1]}")
    if mid is not None and (mid.ndim < 3 or mid.shape[:2] != (up.shape[1], down.shape[0])):
        raise ValueError(f"its middle factor has the shape {list(mid.shape)}")
    scale = _scale(parts, down.shape[0], options, module)
    changes: Changes = {"weight": LowRankChange(down, up, scale, mid)}
    if "up bias" in parts:
        changes["bias"] = Difference(parts["up bias"], scale)
    return changes


def _hadamard(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    w1_a, w1_b, w2_a, w2_b = _take(parts, "w1_a", "w1_b", "w2_a", "w2_b")
    scale = _scale(parts, w1_b.shape[0], options, module)
    change = HadamardChange(w1_a, w1_b, w2_a, w2_b, scale, parts.get("t1"), parts.get("t2"))
    return {"weight": change}


def _kronecker(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    def factor(name: str) -> Tensor | tuple[Tensor, Tensor]:
        whole = parts.get(f"kron {name}")
        if whole is not None:
            return whole
        rows, columns = _take(parts, f"kron {name}_a", f"kron {name}_b")
        return rows, columns

    w1, w2 = factor("w1"), factor("w2")
    ranks = [each[1].shape[0] for each in (w2, w1) if isinstance(each, tuple)]
    scale = 1.0
    if ranks:
        scale = _scale(parts, ranks[0], options, module)
    elif "alpha" not in parts and (alpha := options.alpha(module)) is not None and options.rank(module):
        scale = alpha / (options.rank(module) or 1)  # peft scales whole factors too
    return {"weight": KroneckerChange(w1, w2, scale, parts.get("kron t2"))}


def _generalized(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:
    a1, a2, b1, b2 = _take(parts, "a1", "a2", "b1", "b2")
    outputs, inputs = layer.weight[0], layer.weight[1] if len(layer.weight) > 1 else 0
    newer = a1.shape[0] == inputs and a2.shape[1] == inputs and b1.shape[0] == outputs
    if not newer:  # LyCORIS once had each pair the other way round
        a1, a2, b1, b2 = a2, a1, b2, b1
    return {
        "weight": GeneralizedChange(
            a1, a2, b1, b2, _scale(parts, a2.shape[0], options, module), parts.get("bm")
        )
    }


def _rotation(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    if "skew" in parts:
        return {"weight": InputRotation(parts["skew"], options.neumann_terms)}
    rescale = parts.get("rescale")
    if "rotations" in parts:
        return {"weight": OutputRotation(parts["rotations"], are_rotations=True, rescale=rescale)}
    (blocks,) = _take(parts, "blocks")
    if blocks.ndim not in (3, 4) or blocks.shape[-1] != blocks.shape[-2]:
        raise ValueError(f"its blocks have the shape {list(blocks.shape)}")
    constraint = max(_alpha(parts) or 0.0, 0.0)
    if blocks.ndim == 4:
        return {"weight": ButterflyRotation(blocks, constraint, rescale)}
    return {"weight": OutputRotation(blocks, constraint=constraint, rescale=rescale)}


def _peft_butterfly(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    raise ValueError("it is a BOFT as peft writes it, which is not supported; LyCORIS' is")


def _scaling(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    (factors,) = _take(parts, "factors")
    if "on input" in parts:  # LyCORIS': less 1, and the bias stays
        return {"weight": Scaling(factors, axis=int(bool(parts["on input"].any())))}
    outputs, inputs = layer.weight[0], layer.weight[1] if len(layer.weight) > 1 else 0
    if factors.ndim == 2:  # of a linear layer: [out, 1] or [1, in]
        axis = 0 if factors.shape[1] == 1 and factors.shape[0] == outputs else 1
    elif outputs == inputs:
        raise ValueError("its factors may be those of its inputs or of its outputs")
    else:
        axis = 0 if factors.numel() == outputs else 1
    less_one = factors.float() - 1
    changes: Changes = {"weight": Scaling(less_one, axis)}
    if axis == 0 and layer.has_bias:
        changes["bias"] = Scaling(less_one, 0)
    return changes


def _whole(parts: Parts, layer: LayerShape, options: PeftOptions, module: str) -> Changes:  # noqa: ARG001
    return {}


def _differences(parts: Parts) -> Changes:
    """Whole differences, which a layer may have beside other kinds."""
    named = {
        "weight": parts.get("diff", parts.get("norm diff")),
        "bias": parts.get("bias diff", parts.get("norm bias diff")),
    }
    return {name: Difference(tensor) for name, tensor in named.items() if tensor is not None}


def _decomposed(change: WeightChange, parts: Parts, layer: LayerShape) -> WeightChange:
    """DoRA; LyCORIS' magnitudes are [out, 1 …], or [1, in, 1 …] in its older files; peft's are always those of rows."""
    if "row magnitude" in parts:
        return DecomposedChange(change, parts["row magnitude"].flatten(), axis=0)
    given = parts["magnitude"]
    rows = given.ndim == 1 or given.shape[0] == layer.weight[0]
    return DecomposedChange(change, given.flatten(), axis=0 if rows else 1)


_MAKERS = {
    "LoRA": _low_rank,
    "LoHa": _hadamard,
    "LoKr": _kronecker,
    "GLoRA": _generalized,
    "OFT": _rotation,
    "BOFT": _peft_butterfly,
    "IA3": _scaling,
    "full": _whole,
    "norm": _whole,
}
"""What makes the changes of each kind."""
