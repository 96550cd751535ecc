"""Encode and decode pictures in overlapping tiles, which are blended; the autoencoder is not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

TILE = 512
"""Width and height of a tile in pixels."""
OVERLAP = 128
"""Pixels that neighbouring tiles share, over which one fades into the other."""


def tiled(data: Tensor, compute: Callable[[Tensor], Tensor], tile: int, overlap: int) -> Tensor:
    """Compute in overlapping tiles, and blend the results linearly.

    Args:
        data: (..., rows, columns).
        compute: Computes a tile; its result may have another size, by one factor for both sides.
        tile: Rows and columns of a tile.
        overlap: Rows and columns that neighbouring tiles share.

    Returns:
        (..., rows x factor, columns x factor).
    """
    rows, columns = data.shape[-2:]
    result: Tensor | None = None
    for top in _starts(rows, tile, overlap):
        for left in _starts(columns, tile, overlap):
            computed = compute(data[..., top : top + tile, left : left + tile])
            factor = computed.shape[-1] / min(tile, columns - left)
            if result is None:
                size = round(rows * factor), round(columns * factor)
                result = computed.new_zeros((*computed.shape[:-2], *size))
            fade = round(overlap * factor)
            down = _ramp(computed, -2, fade if top else 0)
            across = _ramp(computed, -1, fade if left else 0)
            y, x = round(top * factor), round(left * factor)
            place = result[..., y : y + computed.shape[-2], x : x + computed.shape[-1]]
            # What is there already fades out where this tile fades in.
            place.lerp_(computed, torch.minimum(down[:, None], across[None, :]))
    assert result is not None
    return result


def needs_tiles(data: Tensor, unit: int) -> bool:
    """Whether pixels or latents are larger than a tile.

    Args:
        data: (..., rows, columns).
        unit: Width of one of its values in pixels.
    """
    rows, columns = data.shape[-2:]
    return bool(max(rows, columns) > TILE // unit)


def tiled_call(vae: Any, method: str, pixels: int) -> Callable[..., Any]:
    """A replacement for an autoencoder's ``encode`` or ``decode`` that works in tiles.

    Args:
        vae: The autoencoder.
        method: encode or decode.
        pixels: Width of a latent in pixels.
    """
    unit = 1 if method == "encode" else pixels

    def call(data: Tensor, *args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        if not needs_tiles(data, unit):
            return getattr(vae, method)(data, *args, return_dict=return_dict, **kwargs)
        last: Any = None

        def compute(part: Tensor) -> Tensor:
            nonlocal last
            last = getattr(vae, method)(part, *args, return_dict=True, **kwargs)
            return _tensor_of(last)

        blended = tiled(data, compute, TILE // unit, OVERLAP // unit)
        output = _with_tensor(last, blended)
        return output if return_dict else tuple(output.values())

    return call


def _starts(length: int, tile: int, overlap: int) -> Iterator[int]:
    """Where tiles begin; the last one ends at the edge."""
    position = 0
    while position + tile < length:
        yield position
        position += tile - overlap
    yield max(0, length - tile)


def _ramp(like: Tensor, axis: int, fade: int) -> Tensor:
    """Weights along an axis of a tensor: from 0 to 1 over the length of the fade, and 1 beyond it."""
    weights = torch.ones(like.shape[axis], dtype=like.dtype, device=like.device)
    count = min(fade, len(weights))
    weights[:count] = torch.linspace(0, 1, count + 2, dtype=like.dtype, device=like.device)[1:-1]
    return weights


def _tensor_of(output: Any) -> Tensor:
    """The tensor of an encoder's or a decoder's output."""
    if hasattr(output, "latent_dist"):
        parameters: Tensor = output.latent_dist.parameters
        return parameters
    first: Tensor = output[0]
    return first


def _with_tensor(output: Any, tensor: Tensor) -> Any:
    """An output of the same type with another tensor."""
    if hasattr(output, "latent_dist"):
        return type(output)(latent_dist=type(output.latent_dist)(tensor))
    (name,) = output.keys()
    return type(output)(**{name: tensor})
