"""What every upscaler can do, and what all of them check before they work."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from PIL import Image

from safelight.errors import (
    ImageArrayError,
    ImageZeroSizeError,
    MemoryBudgetError,
    RequestError,
    StoppedError,
)
from safelight.images import DecodeLimits

MAX_PIXELS = DecodeLimits().max_pixels
"""Pixels of a result, at most, where no other limit is given."""

Progress = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""

Stop = Callable[[], bool]
"""Whether the work is to end now."""


class Upscaler(Protocol):
    """Makes pictures larger. The same picture and factor give the same result."""

    @property
    def name(self) -> str:
        """What it is asked for by."""

    @property
    def factor(self) -> int | None:
        """How much its network enlarges at a time; None where any factor is native."""

    @property
    def digest(self) -> str | None:
        """SHA-256 of its weights, in hexadecimal; None where there are none."""

    def upscale(
        self,
        image: Image.Image,
        factor: float,
        *,
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
        should_stop: Stop | None = None,
    ) -> Image.Image:
        """A larger picture, RGB, of exactly round(width * factor) x round(height * factor) pixels.

        Args:
            image: Mode RGB.
            factor: On width and height, at least 1.
            max_pixels: Larger results are refused.
            on_progress: Called with the share that is done, 0 to 1.
            should_stop: Asked before each part of the work.

        Raises:
            RequestError: The factor is not finite, below 1, or not possible with this upscaler.
            MemoryBudgetError: The result, or a picture on the way to it, would be too large.
            ImageArrayError, ImageZeroSizeError: Not an RGB picture, or one without pixels.
            StoppedError: should_stop said so.
            NumbersError: The network's result is not finite.
        """


def target_size(image: Image.Image, factor: float, max_pixels: int) -> tuple[int, int]:
    """Width and height of the result, once all that can be checked beforehand is checked.

    Raises:
        RequestError, MemoryBudgetError, ImageArrayError, ImageZeroSizeError: As in `Upscaler.upscale`.
    """
    if image.mode != "RGB":
        raise ImageArrayError(
            f"The picture to upscale has mode {image.mode}, not RGB.", hint="Convert it to RGB."
        )
    if image.width == 0 or image.height == 0:
        raise ImageZeroSizeError(f"The picture to upscale is {image.width} x {image.height} pixels.")
    if not (math.isfinite(factor) and factor >= 1):
        raise RequestError(f"Upscaling by {factor} is not possible.", hint="Give a factor of 1 or more.")
    size = round(image.width * factor), round(image.height * factor)
    if size[0] * size[1] > max_pixels:
        raise MemoryBudgetError(
            f"Upscaling {image.width} x {image.height} by {factor:g} gives {size[0]} x {size[1]}, "
            f"more than the {max_pixels} pixels a picture may have.",
            hint="Give a smaller factor, or raise the setting max_pixels.",
        )
    return size


def check_stop(should_stop: Stop | None) -> None:
    """End the work where that was asked for.

    Raises:
        StoppedError: It was.
    """
    if should_stop is not None and should_stop():
        raise StoppedError("The upscaling was stopped before it was done.")
