"""The size at which a preprocessor works: that of the picture, or one whose shorter side is given."""

from __future__ import annotations

import math

from PIL import Image

from safelight.errors import AboveMaximumError, BelowMinimumError

MIN_RESOLUTION, MAX_RESOLUTION = 64, 2048
"""Limits of the shorter side that a request may ask for, in pixels."""
MAX_PIXELS = 2 * MAX_RESOLUTION**2
"""The most pixels that preprocessors work on."""


def working_size(size: tuple[int, int], resolution: int | None) -> tuple[int, int]:
    """Width and height at which a picture is preprocessed; its shape stays.

    Args:
        size: Width and height of the picture.
        resolution: The shorter side, in pixels; None: the picture as it is, or reduced to ``MAX_PIXELS``.

    Raises:
        BelowMinimumError, AboveMaximumError: The resolution is out of range, or the longer side would be so long that
            there are more than ``MAX_PIXELS``.
    """
    width, height = size
    if resolution is None:
        scale = min(1.0, math.sqrt(MAX_PIXELS / (width * height)))
        return max(1, round(width * scale)), max(1, round(height * scale))
    _check_range(resolution)
    scale = resolution / min(size)
    found = max(1, round(width * scale)), max(1, round(height * scale))
    if found[0] * found[1] > MAX_PIXELS:
        largest = math.isqrt(MAX_PIXELS * min(size) // max(size))
        raise AboveMaximumError(
            f"A resolution of {resolution} makes {found[0]} x {found[1]} of it, more than {MAX_PIXELS} pixels.",
            hint=f"Give a resolution of at most {largest}, or none.",
            field="resolution",
            context={"maximum": largest},
        )
    return found


def at_resolution(image: Image.Image, resolution: int | None) -> Image.Image:
    """Scale a picture to its working size: pixels are averaged where it gets smaller, else Lanczos' filter is used.

    Args:
        image: Mode RGB.
        resolution: As for ``working_size``, which also says what is raised.
    """
    size = working_size(image.size, resolution)
    if size == image.size:
        return image
    smaller = size[0] < image.width or size[1] < image.height
    return image.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS)


def _check_range(resolution: int) -> None:
    """Refuse a resolution outside ``MIN_RESOLUTION`` and ``MAX_RESOLUTION``."""
    if resolution < MIN_RESOLUTION:
        raise BelowMinimumError(
            f"A resolution of {resolution} pixels is too low.",
            hint=f"Give at least {MIN_RESOLUTION}.",
            field="resolution",
            context={"minimum": MIN_RESOLUTION},
        )
    if resolution > MAX_RESOLUTION:
        raise AboveMaximumError(
            f"A resolution of {resolution} pixels is too high.",
            hint=f"Give at most {MAX_RESOLUTION}.",
            field="resolution",
            context={"maximum": MAX_RESOLUTION},
        )


def pixel_perfect_resolution(size: tuple[int, int], target: tuple[int, int], *, fit: bool = False) -> int:
    """The resolution at which a control picture has as many pixels as the picture that it steers ("pixel perfect").

    Args:
        size: Width and height of the control picture.
        target: Width and height of the picture that is generated.
        fit: Whether the control picture will lie within the target, with bars at two sides. By default it covers it.

    Returns:
        The shorter side, in pixels, within ``MIN_RESOLUTION`` and ``MAX_RESOLUTION``.
    """
    scales = target[0] / size[0], target[1] / size[1]
    wanted = (min(scales) if fit else max(scales)) * min(size)
    return max(MIN_RESOLUTION, min(MAX_RESOLUTION, round(wanted)))
