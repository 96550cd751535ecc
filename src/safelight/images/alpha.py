"""Read a picture's alpha channel, with which clients mark the area to inpaint."""

from __future__ import annotations

from PIL import Image

from safelight.images import DecodeLimits
from safelight.images.child_process.file_decoder import needs_child_process, run_in_child_process
from safelight.images.decoder_errors import translate_decoder_errors
from safelight.images.decoding import inspect_file, open_file
from safelight.images.metadata.exif_orientation import apply_orientation, read_orientation
from safelight.images.types import FileLayout

_OPAQUE = frozenset({"1", "L", "RGB", "CMYK", "YCbCr", "I;16", "I", "F"})
"""Modes with neither an alpha channel nor a palette (palettes can have transparent entries)."""


def decode_alpha(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """Decode a picture's alpha channel, upright, in mode L: 0 is transparent. None if the picture is opaque.

    Args:
        data: The file's bytes.
        limits: Limits for decoding.

    Raises:
        ImageError: The picture cannot be decoded.
    """
    layout = inspect_file(data, limits)
    if needs_child_process(layout, limits):
        return next((frame.image for frame in run_in_child_process("alpha", data, limits)), None)
    return decode_alpha_in_process(data, layout, limits)


def decode_alpha_in_process(data: bytes, layout: FileLayout, limits: DecodeLimits) -> Image.Image | None:
    """Like `decode_alpha` for a file that was inspected; always decodes in this process."""
    image = open_file(data, layout, limits)
    with translate_decoder_errors(layout.header.format):
        if image.mode in _OPAQUE and "transparency" not in image.info:
            return None  # opaque by its header: nothing needs to be decoded
        image.load()
        if not image.has_transparency_data:
            return None
        alpha = _extract_alpha(image)
    return None if alpha.getextrema() == (255, 255) else alpha


def _extract_alpha(image: Image.Image) -> Image.Image:
    """The alpha channel, upright; the other channels are not copied if the picture has one."""
    if "A" not in image.getbands():
        image = image.convert("RGBA")
    return apply_orientation(image.getchannel("A"), read_orientation(image.info))
