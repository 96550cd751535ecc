"""The protocol of upscalers, and the checks that all of them make before they start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from PIL import Image

from safelight.errors import (
    BelowMinimumError,
    ImageArrayError,
    ImageZeroSizeError,
    MemoryBudgetError,
    RunStoppedError,
    UpscalerUnknownError,
)
from safelight.images import DecodeLimits
from safelight.plugins import Registry

MAX_PIXELS = DecodeLimits().max_pixels
"""Default limit of a result, in pixels."""

ProgressCallback = Callable[[float], None]
"""Called with the completed fraction of the work, 0 to 1."""

StopCallback = Callable[[], bool]
"""Returns whether to stop."""


class Upscaler(Protocol):
    """Upscales images. The same image and factor give the same result."""

    @property
    def name(self) -> str:
        """Its name in requests."""

    @property
    def factor(self) -> int | None:
        """Scale factor of one pass of its network; None if it supports any factor directly."""

    @property
    def digest(self) -> str | None:
        """SHA-256 of its weights, in hexadecimal; None if it has none."""

    def upscale(
        self,
        image: Image.Image,
        factor: float,
        *,
        max_pixels: int = MAX_PIXELS,
        on_progress: ProgressCallback | None = None,
        should_stop: StopCallback | None = None,
    ) -> Image.Image:
        """Upscale an image to exactly round(width * factor) x round(height * factor) pixels, RGB.

        Args:
            image: Mode RGB.
            factor: Factor on width and height, at least 1.
            max_pixels: Larger results are refused.
            on_progress: Called with the completed fraction, 0 to 1.
            should_stop: Called before each part of the work.

        Raises:
            RequestError: The factor is not finite, below 1, or not possible with this upscaler.
            MemoryBudgetError: The result, or an intermediate image, would be too large.
            ImageArrayError, ImageZeroSizeError: The image is not RGB, or has no pixels.
            RunStoppedError: ``should_stop`` returned True.
            NonFiniteError: The network's result is not finite.
        """


UPSCALERS = Registry[Upscaler](
    "upscaler",
    "register_upscalers",
    UpscalerUnknownError,
    ("safelight.generation.upscaling.resampling",),
    name_field="name",
)
"""The upscalers that need no file of weights, and take any factor; ``registry`` finds the others on the disk."""


def target_size(image: Image.Image, factor: float, max_pixels: int) -> tuple[int, int]:
    """Check the arguments of ``upscale`` and return width and height of the result.

    Raises:
        RequestError, MemoryBudgetError, ImageArrayError, ImageZeroSizeError: As in ``Upscaler.upscale``.
    """
    if image.mode != "RGB":
        raise ImageArrayError(
            f"The picture to upscale has mode {image.mode}, not RGB.", hint="Convert it to RGB."
        )
    if image.width == 0 or image.height == 0:
        raise ImageZeroSizeError(f"The picture to upscale is {image.width} x {image.height} pixels.")
    if not (math.isfinite(factor) and factor >= 1):
        raise BelowMinimumError(
            f"Upscaling by {factor} is not possible.",
            hint="Give a factor of 1 or more.",
            field="by",
            context={"minimum": 1},
        )
    size = round(image.width * factor), round(image.height * factor)
    if size[0] * size[1] > max_pixels:
        raise MemoryBudgetError(
            f"Upscaling {image.width} x {image.height} by {factor:g} gives {size[0]} x {size[1]}, "
            f"more than the {max_pixels} pixels a picture may have.",
            hint="Give a smaller factor, or raise the setting max_pixels.",
            field="by",
            context={"maximum": max_pixels, "width": size[0], "height": size[1]},
        )
    return size


def check_not_stopped(should_stop: StopCallback | None) -> None:
    """Check that the work was not cancelled.

    Raises:
        RunStoppedError: ``should_stop`` returned True.
    """
    if should_stop is not None and should_stop():
        raise RunStoppedError("The upscaling was stopped before it was done.")
