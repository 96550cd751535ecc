"""Pillow's ``resize``, computed only for the part of the result that is kept, with bit-identical output.

Pillow resizes a whole image or a box with 32-bit float corners. The corners of a part of the result are not exact in
32 bits, so resizing the box would round differently. Here the weights are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

_WEIGHT_BITS = 22
"""Fractional bits of Pillow's fixed-point weights for 8-bit images."""
_MAX_SUMMED_STEPS = 1 << 24


@dataclass(frozen=True)
class _Filter:
    kernel: Callable[[Floats], Floats]
    support: float


def _box(x: Floats) -> Floats:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: Floats) -> Floats:
    x = np.abs(x)
    return np.where(x < 1, 1 - x, 0.0)


def _hamming(x: Floats) -> Floats:
    x = np.abs(x)
    turns = np.where(x == 0, 1.0, x) * np.pi
    # Pillow writes the two constants in single precision.
    window = np.float64(np.float32(0.54)) + np.float64(np.float32(0.46)) * np.cos(turns)
    return np.where(x == 0, 1.0, np.where(x < 1, np.sin(turns) / turns * window, 0.0))


def _bicubic(x: Floats) -> Floats:
    x = np.abs(x)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _sinc(x: Floats) -> Floats:
    turns = np.where(x == 0, 1.0, x) * np.pi
    return np.where(x == 0, 1.0, np.sin(turns) / turns)


def _lanczos(x: Floats) -> Floats:
    return np.where((x >= -3) & (x < 3), _sinc(x) * _sinc(x / 3), 0.0)


_FILTERS = {
    Image.Resampling.BOX: _Filter(_box, 0.5),
    Image.Resampling.BILINEAR: _Filter(_bilinear, 1),
    Image.Resampling.HAMMING: _Filter(_hamming, 1),
    Image.Resampling.BICUBIC: _Filter(_bicubic, 2),
    Image.Resampling.LANCZOS: _Filter(_lanczos, 3),
}


@dataclass(frozen=True)
class _Taps:
    """The filter taps of each result pixel along one axis: source pixels and their weights.

    Args:
        indices: int64 [pixels, taps]; indices outside the image have weight 0.
        weights: int64 [pixels, taps], in units of 2**-22.
    """

    indices: NDArray[np.int64]
    weights: NDArray[np.int64]

    @property
    def source_range(self) -> tuple[int, int]:
        """Range of the source pixels that are needed: the first, and one after the last."""
        needed = self.indices[self.weights != 0]
        return int(needed.min()), int(needed.max()) + 1

    def apply(self, pixels: Bytes, first: int) -> Bytes:
        """Resample along the first axis.

        Args:
            pixels: uint8 [length, ...], a part of the source.
            first: Index of ``pixels[0]`` in the source.

        Returns:
            uint8 [pixels, ...].
        """
        indices = np.clip(self.indices - first, 0, len(pixels) - 1)
        total = np.full((len(indices), *pixels.shape[1:]), 1 << (_WEIGHT_BITS - 1), np.int32)
        spread = (-1,) + (1,) * (pixels.ndim - 1)
        for tap in range(indices.shape[1]):
            total += pixels[indices[:, tap]] * self.weights[:, tap].astype(np.int32).reshape(spread)
        clipped: Bytes = np.clip(total >> _WEIGHT_BITS, 0, 255).astype(np.uint8)
        return clipped


def resize_part(
    image: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int], filter_: Image.Resampling
) -> Image.Image:
    """Return ``image.resize(size, filter_).crop(part)`` without computing the whole result.

    Args:
        image: Mode RGB.
        size: Width and height of the whole result, in pixels.
        part: The part to compute: left, top, right, bottom, in pixels within ``size``.
        filter_: Any of Pillow's filters. Only "nearest" can differ, by one pixel, in results longer than 2**24 pixels:
            Pillow sums its steps with their rounding errors, and repeating that would take long.
    """
    left, top, right, bottom = part
    across = _compute_taps(image.width, size[0], left, right, filter_)
    down = _compute_taps(image.height, size[1], top, bottom, filter_)
    (first_column, last_column), (first_row, last_row) = across.source_range, down.source_range
    pixels: Bytes = np.asarray(image.crop((first_column, first_row, last_column, last_row)))
    # Pillow's order, which matters because pixels are rounded in between: very tall images shrink in height first.
    if image.height > 100 * image.width and size[1] < image.height:
        pixels = across.apply(down.apply(pixels, first_row).swapaxes(0, 1), first_column).swapaxes(0, 1)
    else:
        pixels = down.apply(across.apply(pixels.swapaxes(0, 1), first_column).swapaxes(0, 1), first_row)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _compute_taps(length: int, resized: int, start: int, stop: int, filter_: Image.Resampling) -> _Taps:
    """Return Pillow's taps for the pixels from ``start`` to ``stop`` of ``resized``, in its order of operations."""
    scale = float(np.float32(length)) / resized
    centres = (np.arange(start, stop) + 0.5) * scale
    if length == resized or filter_ == Image.Resampling.NEAREST:
        if resized <= _MAX_SUMMED_STEPS:
            steps = np.full(stop, scale)
            steps[0] = scale * 0.5
            centres = steps.cumsum()[start:]
        indices = np.minimum(centres.astype(np.int64), length - 1)[:, None]
        return _Taps(indices, np.full_like(indices, 1 << _WEIGHT_BITS))
    kernel, stretch = _FILTERS[filter_], max(scale, 1.0)
    support = kernel.support * stretch
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), length)
    indices = first[:, None] + np.arange((last - first).max())
    weights = kernel.kernel((indices - centres[:, None] + 0.5) * (1 / stretch))
    weights = np.where(indices < last[:, None], weights, 0.0)
    totals = weights.cumsum(axis=1)[:, -1:]  # sequential: sum() adds pairwise and rounds differently
    weights = weights / np.where(totals == 0, 1.0, totals)
    return _Taps(
        indices, np.trunc(weights * (1 << _WEIGHT_BITS) + np.copysign(0.5, weights)).astype(np.int64)
    )
