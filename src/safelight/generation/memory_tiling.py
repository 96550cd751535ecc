"""Encode and decode pictures in overlapping tiles, which are blended; the autoencoder is not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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

        if method == "decode" and any(isinstance(module, nn.GroupNorm) for module in vae.modules()):
            with SharedStatistics() as statistics:
                vae.decode(_reduced(data, TILE // unit), *args, **kwargs)
                statistics.apply()
                blended = tiled(
                    data, lambda part: statistics.again(compute, part), TILE // unit, OVERLAP // unit
                )
        else:
            blended = tiled(data, compute, TILE // unit, OVERLAP // unit)
        output = _with_tensor(last, blended)
        return output if return_dict else tuple(output.values())

    return call


class SharedStatistics(TorchFunctionMode):
    """Group normalization with the same statistics in every tile: those that a reduced picture had.

    Normalized tile by tile, tones differ from those of the whole picture. First the calls of a network record the mean
    and the inverse deviation of each group; after ``apply`` the same calls, in the same order, use them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recorded: list[tuple[Tensor, Tensor]] = []
        self._next: int | None = None

    def apply(self) -> None:
        """Use what was recorded from now on."""
        self._next = 0

    def again(self, compute: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
        """Compute a tile, beginning with the first normalization."""
        self._next = 0
        return compute(part)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or group normalization with recorded statistics in its place."""
        if func is not nn.functional.group_norm:
            return func(*args, **(kwargs or {}))
        return self._normalize(*args, **(kwargs or {}))

    def _normalize(
        self,
        data: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        if self._next is None:
            batch, channels = data.shape[:2]
            positions = data.numel() // (batch * channels)
            result, mean, factor = torch.native_group_norm(
                data.contiguous(), weight, bias, batch, channels, positions, num_groups, eps
            )
            self._recorded.append((mean.float(), factor.float()))
            return result
        mean, factor = self._recorded[self._next]
        self._next += 1
        width = data.shape[1] // num_groups
        scale = factor.repeat_interleave(width, 1)
        if weight is not None:
            scale = scale * weight.float()
        shift = -mean.repeat_interleave(width, 1) * scale
        if bias is not None:
            shift = shift + bias.float()
        shape = (*scale.shape, *(1 for _ in data.shape[2:]))
        return torch.addcmul(shift.to(data.dtype).view(shape), data, scale.to(data.dtype).view(shape))


def _reduced(latents: Tensor, side: int) -> Tensor:
    """Latents averaged to one tile's size, with the mean and the deviation that each channel had."""
    rows, columns = (min(side, length) for length in latents.shape[-2:])
    reduced = nn.functional.interpolate(latents, size=(rows, columns), mode="area")
    axes = (-2, -1)
    whole, part = latents.std(axes, keepdim=True), reduced.std(axes, keepdim=True)
    mean = reduced.mean(axes, keepdim=True)
    return (reduced - mean) * (whole / part.clamp_min(1e-6)) + latents.mean(axes, keepdim=True)


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
