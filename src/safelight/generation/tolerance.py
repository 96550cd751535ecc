"""How far a picture that was drawn together with others may be from the same one drawn alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 1
"""Of 255: the most that one value may differ by."""
SHARE = 0.001
"""Of all values: how many may differ at most. Measured: 0.0001; see ``docs/generation.md``."""


def within_tolerance(pixels: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two pictures differ by no more than drawing together explains.

    Args:
        pixels: [height, width, channels].
        other: Likewise.
    """
    if pixels.shape != other.shape:
        return False
    distance = np.abs(pixels.astype(int) - other)
    return bool(distance.max() <= LEVELS and np.count_nonzero(distance) <= SHARE * distance.size)
