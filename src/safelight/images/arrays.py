"""Convert numpy arrays to pictures, and samples of more than 8 bits to 8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ImageArrayError
from safelight.images.types import DecodeLimits, check_size

CHUNK_PIXELS = 1 << 18
"""Number of pixels or samples that are converted at a time."""


def array_to_8bit(array: NDArray[Any], limits: DecodeLimits, notes: list[str]) -> NDArray[np.uint8]:
    """Convert an array to 8-bit samples.

    Args:
        array: [height, width] or [height, width, 1, 3 or 4]; uint8, uint16, bool, or floats in 0..1.
        limits: The limit on pixels.
        notes: A note on the conversion is appended here.

    Returns:
        uint8 samples [height, width, 1, 3 or 4], C-contiguous; the same array if it already is.

    Raises:
        ImageArrayError: Another shape or dtype, NaN, or floats out of range.
        ImageZeroSizeError: The array has no pixels.
        ImageTooManyPixelsError: It has more pixels than the limit.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageArrayError(f"The array has the shape {array.shape}.")
    check_size((array.shape[1], array.shape[0]), limits)
    samples = np.ascontiguousarray(_eight_bit(array, notes))
    return samples if samples.ndim == 3 else samples[:, :, None]


def _eight_bit(array: NDArray[Any], notes: list[str]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        notes.append("16 bit scaled to 8")
        return narrow_16bit(array)
    if array.dtype.kind == "f":
        return unit_to_8bit(array)
    raise ImageArrayError(f"The array's dtype is {array.dtype}.")


def unit_to_8bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert floats in 0..1 to 0..255, rounded.

    Raises:
        ImageArrayError: NaN or a value out of range.
    """
    # not (0 <= low) instead of low < 0, so that NaN fails as well
    if not (array.min() >= 0 and array.max() <= 1):
        raise ImageArrayError("The array holds NaN or values outside 0..1.")
    return _convert_by_rows(array, lambda rows: np.rint(rows.astype(np.float32) * np.float32(255)))


def narrow_16bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert 16-bit samples to 8 bits: round(v / 257), which maps 0 to 0 and 65535 to 255."""
    return _convert_by_rows(array, lambda rows: narrow_high_low(rows >> 8, rows & 255))


def narrow_high_low(high: NDArray[Any], low: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert 16-bit samples, given as high and low bytes, to 8 bits, like ``narrow_16bit``.

    With v = 256 high + low, v / 257 is high + (low - high) / 257, and the last term rounds to -1, 0 or 1.
    """
    high = high.astype(np.int16)
    rest = low.astype(np.int16) - high
    narrowed: NDArray[np.uint8] = (high + (rest > 128) - (rest < -128)).astype(np.uint8)
    return narrowed


def _convert_by_rows(
    array: NDArray[Any], change: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.uint8]:
    """Convert a few rows at a time, so that intermediate results take a few megabytes."""
    changed = np.empty(array.shape, np.uint8)
    step = max(1, CHUNK_PIXELS * len(array) // max(1, array.size))
    for top in range(0, len(array), step):
        changed[top : top + step] = change(array[top : top + step])
    return changed
