"""Read a picture's alpha channel, with which clients mark the area to inpaint."""

from __future__ import annotations

from PIL import Image

from safelight.images import DecodeLimits
from safelight.images.decode import inspect, open_file
from safelight.images.exif import orientation_of, upright
from safelight.images.guard import foreign
from safelight.images.isolated import frames_isolated, is_large
from safelight.images.picture import Layout

_OPAQUE = frozenset({"1", "L", "RGB", "CMYK", "YCbCr", "I;16", "I", "F"})
"""Modes with neither an alpha channel nor a palette (palettes can have transparent entries)."""


def alpha_of(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """Decode a picture's alpha channel, upright, in mode L: 0 is transparent. None if the picture is opaque.

    Args:
        data: The file's bytes.
        limits: Limits for decoding.

    Raises:
        ImageError: The picture cannot be decoded.
    """
    layout = inspect(data, limits)
    if is_large(layout, limits):
        return next((frame.image for frame in frames_isolated("alpha", data, limits)), None)
    return alpha_here(data, layout, limits)


def alpha_here(data: bytes, layout: Layout, limits: DecodeLimits) -> Image.Image | None:
    """Like `alpha_of` for a file that was inspected; always decodes in this process."""
    image = open_file(data, layout, limits)
    with foreign(layout.header.format):
        if image.mode in _OPAQUE and "transparency" not in image.info:
            return None  # opaque by its header: nothing needs to be decoded
        image.load()
        if not image.has_transparency_data:
            return None
        alpha = _alpha(image)
    return None if alpha.getextrema() == (255, 255) else alpha


def _alpha(image: Image.Image) -> Image.Image:
    """The alpha channel, upright; the other channels are not copied if the picture has one."""
    if "A" not in image.getbands():
        image = image.convert("RGBA")
    return upright(image.getchannel("A"), orientation_of(image.info))
