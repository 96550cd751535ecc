"""How far an image generated in a batch with others may differ from the same image generated alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_LEVEL_DIFFERENCE = 1
"""Largest allowed difference of one value, of 255."""
MAX_DIFFERING_FRACTION = 0.001
"""Largest allowed fraction of values that differ. Measured: 0.0001; see ``docs/generation.md``."""


def within_tolerance(pixels: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two images differ by no more than batching explains.

    Args:
        pixels: [height, width, channels].
        other: The same layout; images of different shapes never match.
    """
    if pixels.shape != other.shape:
        return False
    distance = np.abs(pixels.astype(int) - other)
    return bool(
        distance.max() <= MAX_LEVEL_DIFFERENCE
        and np.count_nonzero(distance) <= MAX_DIFFERING_FRACTION * distance.size
    )
