"""Each kind of adapter by hand, in double precision and without the code under test: what it makes of a weight."""

from __future__ import annotations

import numpy as np
import torch

Array = np.ndarray
Parts = dict[str, torch.Tensor]


def merged(kind: str, weight: torch.Tensor, parts: Parts, alpha: float | None = None) -> Array:
    """A layer's weight with an adapter merged into it.

    Args:
        kind: The kind, as in ``factors``.
        weight: The original.
        parts: The tensors by the ending of their names.
        alpha: The layer's alpha, if there is one.
    """
    arrays = {name: part.double().numpy() for name, part in parts.items()}
    return _KINDS[kind](weight.double().numpy(), arrays, alpha)


def _low_rank(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    down, up = parts["lora_down.weight"], parts["lora_up.weight"]
    rank = down.shape[0]
    result = weight.copy()
    for row in range(weight.shape[0]):
        for inner in range(rank):
            factor = up.reshape(-1, rank)[row, inner] * (1 if alpha is None else alpha / rank)
            result[row] += factor * down[inner].reshape(weight[row].shape)
    return result


def _cp(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    down, mid, up = (parts[f"lora_{name}.weight"] for name in ("down", "mid", "up"))
    rank = down.shape[0]
    result = weight.copy()
    for high in range(weight.shape[2]):
        for wide in range(weight.shape[3]):
            product = up[:, :, 0, 0] @ mid[:, :, high, wide] @ down[:, :, 0, 0]
            result[:, :, high, wide] += product * (1 if alpha is None else alpha / rank)
    return result


def _hadamard(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    first = parts["hada_w1_a"] @ parts["hada_w1_b"]
    second = parts["hada_w2_a"] @ parts["hada_w2_b"]
    scale = 1 if alpha is None else alpha / parts["hada_w1_b"].shape[0]
    return weight + (first * second * scale).reshape(weight.shape)


def _hadamard_cp(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    scale = 1 if alpha is None else alpha / parts["hada_w1_b"].shape[0]
    result = weight.copy()
    for high in range(weight.shape[2]):
        for wide in range(weight.shape[3]):
            both = [
                parts[f"hada_w{one}_a"].T @ parts[f"hada_t{one}"][:, :, high, wide] @ parts[f"hada_w{one}_b"]
                for one in (1, 2)
            ]
            result[:, :, high, wide] += both[0] * both[1] * scale
    return result


def _kronecker(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    scale = 1.0
    matrices = []
    for one in (1, 2):
        if f"lokr_w{one}" in parts:
            matrices.append(parts[f"lokr_w{one}"])
            continue
        rows, columns = parts[f"lokr_w{one}_a"], parts[f"lokr_w{one}_b"]
        scale = 1 if alpha is None else alpha / columns.shape[0]
        if f"lokr_t{one}" in parts:
            core = parts[f"lokr_t{one}"]
            matrices.append(
                np.stack([rows.T @ core[:, :, 0, wide] @ columns for wide in range(core.shape[3])], -1)[
                    :, :, None
                ]
            )
        else:
            matrices.append(rows @ columns)
    first, second = matrices
    result = weight.copy().reshape(first.shape[0], second.shape[0], -1)
    for row in range(first.shape[0]):
        for column in range(first.shape[1]):
            block = (first[row, column] * second * scale).reshape(second.shape[0], -1)
            size = block.shape[1]
            result[row, :, column * size : (column + 1) * size] += block
    return result.reshape(weight.shape)


def _decomposed(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    changed = _low_rank(weight, parts, alpha)
    magnitude = parts["dora_scale"]
    result = changed.copy()
    if magnitude.shape[0] == weight.shape[0]:
        for row in range(weight.shape[0]):
            result[row] *= magnitude.reshape(-1)[row] / np.sqrt((changed[row] ** 2).sum())
    else:
        for column in range(weight.shape[1]):
            result[:, column] *= magnitude.reshape(-1)[column] / np.sqrt((changed[:, column] ** 2).sum())
    return result


def _generalized(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    a1, a2, b1, b2 = (parts[f"{name}.weight"] for name in ("a1", "a2", "b1", "b2"))
    scale = 1 if alpha is None else alpha / a2.shape[0]
    within = a1.reshape(a1.shape[0], -1) @ a2.reshape(a2.shape[0], -1)
    result = weight.copy()
    for row in range(weight.shape[0]):
        flat = weight[row].reshape(weight.shape[1], -1)
        result[row] += ((within.T @ flat) * scale).reshape(weight[row].shape)
        for inner in range(b1.shape[1]):
            result[row] += (
                b1.reshape(-1, b1.shape[1])[row, inner] * b2[inner].reshape(weight[row].shape) * scale
            )
    return result


def _rotated(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    blocks = parts["oft_blocks"]
    skew = blocks - blocks.transpose(0, 2, 1)
    if alpha:
        length, limit = np.sqrt((skew**2).sum()), alpha * weight.shape[0]
        skew = skew * min(1.0, limit / length)
    size = blocks.shape[-1]
    result = weight.copy()
    for number, each in enumerate(skew):
        rotation = (np.eye(size) + each) @ np.linalg.inv(np.eye(size) - each)
        rows = slice(number * size, (number + 1) * size)
        result[rows] = (rotation.T @ weight[rows].reshape(size, -1)).reshape(weight[rows].shape)
    if "rescale" in parts:
        result *= parts["rescale"].reshape(-1, *(1,) * (weight.ndim - 1))
    return result


def _butterfly(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    """By permutations: in stage i, rows that are 2^i half blocks apart are rotated together."""
    blocks = parts["oft_blocks"]
    stages, number, size, _ = blocks.shape
    total = number * size
    flat = weight.reshape(total, -1)
    for stage in range(stages):
        apart = 2**stage * size // 2
        order = [
            group * 2 * apart + side * apart + inner
            for group in range(total // (2 * apart))
            for inner in range(apart)
            for side in range(2)
        ]
        moved = flat[order]
        turned = np.empty_like(moved)
        for block in range(number):
            skew = blocks[stage, block] - blocks[stage, block].T
            rotation = (np.eye(size) + skew) @ np.linalg.inv(np.eye(size) - skew)
            rows = slice(block * size, (block + 1) * size)
            turned[rows] = rotation @ moved[rows]
        flat = np.empty_like(turned)
        flat[order] = turned
    return flat.reshape(weight.shape)


def _scaled_outputs(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    return np.stack(
        [row * (1 + factor) for row, factor in zip(weight, parts["weight"].reshape(-1), strict=True)]
    )


def _scaled_inputs(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    columns = zip(np.moveaxis(weight, 1, 0), parts["weight"].reshape(-1), strict=True)
    return np.stack([column * (1 + factor) for column, factor in columns], axis=1)


def _full(weight: Array, parts: dict[str, Array], alpha: float | None) -> Array:
    return weight + parts["diff"]


_KINDS = {
    "LoRA": _low_rank,
    "LoCon": _low_rank,
    "LoCon with CP": _cp,
    "LoHa": _hadamard,
    "LoHa with CP": _hadamard_cp,
    "LoKr": _kronecker,
    "LoKr of two factored": _kronecker,
    "LoKr with CP": _kronecker,
    "LoKr whole": _kronecker,
    "DoRA": _decomposed,
    "DoRA of columns": _decomposed,
    "GLoRA": _generalized,
    "OFT": _rotated,
    "OFT constrained": _rotated,
    "OFT rescaled": _rotated,
    "BOFT": _butterfly,
    "IA3 of outputs": _scaled_outputs,
    "IA3 of inputs": _scaled_inputs,
    "full": _full,
}
KINDS = tuple(_KINDS)
CONVOLUTIONS_ONLY = ("LoCon", "LoCon with CP", "LoHa with CP", "LoKr with CP")
LINEAR_ONLY = ("LoRA",)


def factors(kind: str, shape: tuple[int, ...], rank: int = 2) -> Parts:
    """Random tensors of a kind for a layer, by the ending of their names."""
    out, inputs, *kernel = shape
    behind = int(np.prod(kernel)) if kernel else 1
    ones = (1,) * len(kernel)
    low = {"lora_down.weight": _random(rank, inputs, *kernel), "lora_up.weight": _random(out, rank, *ones)}
    hada = {f"hada_w{one}_a": _random(out, rank) for one in (1, 2)}
    hada |= {f"hada_w{one}_b": _random(rank, inputs * behind) for one in (1, 2)}
    made = {
        "LoRA": low,
        "LoCon": low,
        "LoCon with CP": {
            "lora_down.weight": _random(rank, inputs, *ones),
            "lora_mid.weight": _random(rank, rank, *kernel),
            "lora_up.weight": _random(out, rank, *ones),
        },
        "LoHa": hada,
        "LoHa with CP": {
            **{f"hada_t{one}": _random(rank, rank, *kernel) for one in (1, 2)},
            **{f"hada_w{one}_a": _random(rank, out) for one in (1, 2)},
            **{f"hada_w{one}_b": _random(rank, inputs) for one in (1, 2)},
        },
        "LoKr": {
            "lokr_w1": _random(2, 2),
            "lokr_w2_a": _random(out // 2, rank),
            "lokr_w2_b": _random(rank, inputs // 2 * behind),
        },
        "LoKr of two factored": {
            "lokr_w1_a": _random(2, 1),
            "lokr_w1_b": _random(1, 2),
            "lokr_w2_a": _random(out // 2, rank),
            "lokr_w2_b": _random(rank, inputs // 2 * behind),
        },
        "LoKr with CP": {
            "lokr_w1": _random(2, 2),
            "lokr_t2": _random(rank, rank, *kernel),
            "lokr_w2_a": _random(rank, out // 2),
            "lokr_w2_b": _random(rank, inputs // 2),
        },
        "LoKr whole": {"lokr_w1": _random(2, 2), "lokr_w2": _random(out // 2, inputs // 2, *kernel)},
        "DoRA": low | {"dora_scale": _random(out, 1, *ones).abs() + 1},
        "DoRA of columns": low | {"dora_scale": _random(1, inputs, *ones).abs() + 1},
        "GLoRA": {
            "a1.weight": _random(inputs, rank, *ones),
            "a2.weight": _random(rank, inputs, *ones),
            "b1.weight": _random(out, rank, *ones),
            "b2.weight": _random(rank, inputs, *kernel),
        },
        "OFT": {"oft_blocks": _random(out // 4, 4, 4)},
        "OFT constrained": {"oft_blocks": _random(out // 4, 4, 4)},
        "OFT rescaled": {"oft_blocks": _random(out // 4, 4, 4), "rescale": _random(out, 1, *ones)},
        "BOFT": {"oft_blocks": _random(3, out // 4, 4, 4)},
        "IA3 of outputs": {"weight": _random(out), "on_input": torch.tensor(0)},
        "IA3 of inputs": {"weight": _random(inputs), "on_input": torch.tensor(1)},
        "full": {"diff": _random(*shape)},
    }  # fmt: skip
    return made[kind]


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape) * 0.3


def largest_difference(found: torch.Tensor, expected: Array) -> float:
    """The largest difference of two tensors, relative to the largest value."""
    return float(np.abs(found.double().numpy() - expected).max() / np.abs(expected).max())
