"""What of a picture is transparent: how clients mark the part that is to be drawn anew."""

from __future__ import annotations

from PIL import Image

from safelight.images import DecodeLimits
from safelight.images.decode import inspect, open_file
from safelight.images.exif import orientation_of, upright
from safelight.images.guard import foreign
from safelight.images.isolated import frames_isolated, is_large
from safelight.images.picture import Layout

_OPAQUE = frozenset({"1", "L", "RGB", "CMYK", "YCbCr", "I;16", "I", "F"})
"""Modes without an alpha channel and without a palette, which may have one."""


def alpha_of(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """A picture's alpha channel, upright, mode L: 0 is transparent. None where all of it is opaque.

    Args:
        data: The file.
        limits: What it may cost.

    Raises:
        ImageError: It cannot be read.
    """
    layout = inspect(data, limits)
    if is_large(layout, limits):
        return next((frame.image for frame in frames_isolated("alpha", data, limits)), None)
    return alpha_here(data, layout, limits)


def alpha_here(data: bytes, layout: Layout, limits: DecodeLimits) -> Image.Image | None:
    """`alpha_of` a file that was inspected, in this process whatever it takes."""
    image = open_file(data, layout, limits)
    with foreign(layout.header.format):
        if image.mode in _OPAQUE and "transparency" not in image.info:
            return None  # it says so in its header: nothing needs to be decoded
        image.load()
        if not image.has_transparency_data:
            return None
        alpha = _alpha(image)
    return None if alpha.getextrema() == (255, 255) else alpha


def _alpha(image: Image.Image) -> Image.Image:
    """The alpha channel, upright; of a picture that has one, nothing else is copied."""
    if "A" not in image.getbands():
        image = image.convert("RGBA")
    return upright(image.getchannel("A"), orientation_of(image.info))
