"""Square tiles along a tall or wide image, so that its ends are classified and not lost to a centre crop."""

from __future__ import annotations

import math

Box = tuple[int, int, int, int]

MAX_TILES = 32
_MIN_ASPECT_RATIO = 1.1
"""Below this aspect ratio the view of the whole image already shows all but the edges."""


def tile_boxes(width: int, height: int) -> list[Box]:
    """Return boxes (left, top, right, bottom) in pixels that together cover the image from end to end.

    The boxes are as few squares as cover the long side, evenly spaced, the first and the last aligned with the ends. A
    nearly square image has none. Beyond an aspect ratio of ``MAX_TILES`` to 1 the squares no longer touch.
    """
    short, long = sorted((width, height))
    if long / short < _MIN_ASPECT_RATIO:
        return []
    count = min(MAX_TILES, math.ceil(long / short))
    starts = [round(i * (long - short) / (count - 1)) for i in range(count)]
    if width >= height:
        return [(start, 0, start + short, short) for start in starts]
    return [(0, start, short, start + short) for start in starts]


def tiles_cover_image(width: int, height: int) -> bool:
    """Whether the tiles leave no gap."""
    short, long = sorted((width, height))
    return long / short <= MAX_TILES
