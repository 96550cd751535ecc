"""Filters on float pictures that several preprocessors use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel, by ITU-R BT.601."""


def blurred(pixels: NDArray[np.uint8], sigma: float) -> Floats:
    """A picture, float32 [height, width, 3] in 0..255, blurred by a Gaussian; mirrored at the edges.

    Args:
        pixels: uint8 [height, width, 3].
        sigma: Its standard deviation, in pixels; the filter ends at four of them.
    """
    floats = pixels.astype(np.float32)
    found: Floats = gaussian_filter(floats, (sigma, sigma, 0), mode="mirror", truncate=4.0)
    return found


def brightness(pixels: NDArray[np.uint8]) -> Floats:
    """The brightness of each pixel, float32 [height, width] in 0..255."""
    return pixels.astype(np.float32) @ np.array(LUMA, np.float32)


def to_bytes(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Numbers as uint8: rounded, and limited to 0..255."""
    found: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return found
