"""Edges by Canny's detector, pixel for pixel those of OpenCV, on which ControlNets were trained.

Canny, "A computational approach to edge detection", 1986. The thresholds are on the sum of the absolute derivatives by
Sobel's 3 x 3 filters, of the channel where it is largest; integers throughout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import label

from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

_TAN_22, _SHIFT = 13573, 15
"""tan 22.5 degrees times 2 ** 15, rounded as OpenCV has it."""
_NEIGHBOURS = np.ones((3, 3), bool)


class CannyParameters(Parameters):
    """Thresholds of the hysteresis; where the first is above the second, they are exchanged."""

    low: int = Field(100, ge=0, le=1000, description="Edges continue where the gradient is above it.")
    high: int = Field(200, ge=0, le=1000, description="Edges begin where the gradient is above it.")


def canny(pixels: Pixels, parameters: CannyParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """Edges one pixel wide, white on black."""
    low, high = sorted((parameters.low, parameters.high))
    across, down, magnitude = _gradients(pixels)
    candidates = (magnitude > low) & _is_ridge(across, down, magnitude)
    strong = candidates & (magnitude > high)
    parts, count = label(candidates, _NEIGHBOURS)
    kept = np.zeros(count + 1, bool)
    kept[parts[strong]] = True
    return np.where(kept[parts], np.uint8(255), np.uint8(0))


def _gradients(
    pixels: Pixels,
) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """Derivatives and the sum of their absolute values, int16 [height, width], of the channel where it is largest."""
    across, down = _sobel(pixels[..., 0])
    magnitude = np.abs(across) + np.abs(down)
    for channel in (1, 2):
        next_across, next_down = _sobel(pixels[..., channel])
        next_magnitude = np.abs(next_across) + np.abs(next_down)
        larger = next_magnitude > magnitude
        np.copyto(across, next_across, where=larger)
        np.copyto(down, next_down, where=larger)
        np.copyto(magnitude, next_magnitude, where=larger)
    return across, down, magnitude


def _sobel(channel: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Derivatives to the right and downwards; beyond the edges the outermost pixels continue."""
    padded = np.pad(channel, 1, mode="edge").astype(np.int16)
    smooth_down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth_across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return smooth_down[:, 2:] - smooth_down[:, :-2], smooth_across[2:] - smooth_across[:-2]


def _is_ridge(
    across: NDArray[np.int16], down: NDArray[np.int16], magnitude: NDArray[np.int16]
) -> NDArray[np.bool_]:
    """Where the magnitude is largest along the gradient, which is rounded to the nearest of four directions."""
    padded = np.pad(magnitude, 1)
    height, width = magnitude.shape

    def beside(rows: int, columns: int) -> NDArray[np.int16]:
        return padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    steep = np.abs(down).astype(np.int32) << _SHIFT
    tan_22 = np.abs(across).astype(np.int32) * _TAN_22
    tan_67 = tan_22 + (np.abs(across).astype(np.int32) << (_SHIFT + 1))
    horizontal = (magnitude > beside(0, -1)) & (magnitude >= beside(0, 1))
    vertical = (magnitude > beside(-1, 0)) & (magnitude >= beside(1, 0))
    falling = (magnitude > beside(-1, -1)) & (magnitude > beside(1, 1))
    rising = (magnitude > beside(-1, 1)) & (magnitude > beside(1, -1))
    diagonal = np.where((across ^ down) < 0, rising, falling)
    return np.where(steep < tan_22, horizontal, np.where(steep > tan_67, vertical, diagonal))


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register Canny's detector."""
    registry.register(
        "canny",
        Preprocessor(
            "canny",
            "Canny edges",
            "Edges one pixel wide, white on black.",
            "Canny",
            CannyParameters,
            canny,
            sliders=("low", "high"),
        ),
    )
