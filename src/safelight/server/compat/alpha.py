"""What of a picture is transparent: how clients mark the part that is to be drawn anew."""

from __future__ import annotations

from PIL import Image, ImageOps

from safelight.images import DecodeLimits
from safelight.images.decode import inspect, open_file
from safelight.images.guard import foreign


def alpha_of(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """A picture's alpha channel, upright, mode L: 0 is transparent. None where all of it is opaque.

    Args:
        data: The file.
        limits: What it may cost.

    Raises:
        ImageError: It cannot be read.
    """
    layout = inspect(data, limits)
    image = open_file(data, layout, limits)
    with foreign(layout.header.format):
        image.load()
        if not image.has_transparency_data:
            return None
        alpha = ImageOps.exif_transpose(image.convert("RGBA")).getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha
