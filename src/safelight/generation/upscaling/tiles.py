"""Upscale a large image tile by tile and blend the tiles without visible seams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from safelight.errors import RequestError

Pixels = NDArray[np.uint8]
"""Height x width x 3, sRGB."""

UpscaleTile = Callable[[Pixels], NDArray[np.float32]]
"""Upscales a tile: returns values 0 to 255, scale times as high and as wide."""


@dataclass(frozen=True)
class Tiling:
    """How an image is split into tiles.

    Args:
        tile: Maximum side of a tile in pixels; it determines how much memory a network needs.
        overlap: Minimum overlap of two neighbours in pixels. They are blended in the middle half of the overlap; pixels
            nearer to a tile's edge, where a convolution lacks context, are not used.
        multiple: Sides are multiples of it if the image is large enough.
    """

    tile: int = 512
    overlap: int = 32
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.overlap < 0 or self.tile < max(1, 3 * self.overlap):
            raise RequestError(
                f"Tiles of {self.tile} pixels cannot overlap by {self.overlap}.",
                hint="Give tiles of at least three times their overlap, which is 0 or more.",
            )

    def split_axis(self, length: int) -> AxisTiles:
        """Split one axis of an image into as few tiles as possible, all of one size and evenly spaced."""
        most = _round_up(self.tile, self.multiple)
        count = max(1, ceil((length - self.overlap) / (most - self.overlap)))
        needed = ceil((length + (count - 1) * self.overlap) / count)
        size = min(length, _round_up(needed, self.multiple))
        starts = tuple(i * (length - size) // max(1, count - 1) for i in range(count))
        return AxisTiles(starts, size, self.overlap)

    def count(self, width: int, height: int) -> int:
        """Return the number of tiles of an image."""
        return len(self.split_axis(width).starts) * len(self.split_axis(height).starts)


@dataclass(frozen=True)
class AxisTiles:
    """One axis of an image, split into tiles.

    Args:
        starts: The first pixel of each tile.
        size: Length of each tile in pixels.
        overlap: Minimum overlap of neighbours in pixels.
    """

    starts: tuple[int, ...]
    size: int
    overlap: int

    def weights(self, scale: int) -> NDArray[np.float32]:
        """Return each tile's blend weights, float32 [tiles, size * scale]; they sum to 1 at every position."""
        inside = (np.arange(self.size * scale) + 0.5) / scale
        where = inside + np.array(self.starts)[:, None]
        shares = np.ones_like(where)
        for i in range(len(self.starts) - 1):
            middle = (self.starts[i] + self.size + self.starts[i + 1]) / 2
            width = max(self.overlap / 2, 1 / scale)
            shares[i] *= 1 - _smoothstep(where[i], middle, width)
            shares[i + 1] *= _smoothstep(where[i + 1], middle, width)
        return np.asarray(shares, dtype=np.float32)


def upscale_in_tiles(pixels: Pixels, scale: int, tiling: Tiling, upscale_tile: UpscaleTile) -> Pixels:
    """Upscale an image tile by tile, from top to bottom; only one row of tiles is held as floats.

    Args:
        pixels: The image.
        scale: The scale factor, an integer.
        tiling: How the image is split.
        upscale_tile: Upscales one tile.
    """
    height, width = pixels.shape[:2]
    rows, columns = tiling.split_axis(height), tiling.split_axis(width)
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    faded = np.zeros((0, width * scale, 3), np.float32)
    ends = (*rows.starts[1:], height)
    for top, end, share in zip(rows.starts, ends, rows.weights(scale), strict=True):
        band = (
            _upscale_row(pixels[top : top + rows.size], scale, columns, upscale_tile) * share[:, None, None]
        )
        band[: len(faded)] += faded
        done = (end - top) * scale
        result[top * scale : end * scale] = band[:done].round().clip(0, 255)
        faded = band[done:]
    return result


def _upscale_row(
    pixels: Pixels, scale: int, columns: AxisTiles, upscale_tile: UpscaleTile
) -> NDArray[np.float32]:
    """Upscale one row of tiles and blend them from left to right."""
    height, width = pixels.shape[:2]
    band = np.zeros((height * scale, width * scale, 3), np.float32)
    for left, share in zip(columns.starts, columns.weights(scale), strict=True):
        enlarged = upscale_tile(pixels[:, left : left + columns.size])
        band[:, left * scale : (left + columns.size) * scale] += enlarged * share[None, :, None]
    return band


def _smoothstep(where: NDArray[np.float64], middle: float, width: float) -> NDArray[np.float64]:
    """Rise from 0 to 1 around ``middle`` along the smoothstep polynomial."""
    share = np.clip((where - middle) / width + 0.5, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _round_up(value: int, multiple: int) -> int:
    return ceil(value / multiple) * multiple
