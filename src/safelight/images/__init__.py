"""Decode anything that holds a picture to upright sRGB pixels, within stated limits."""

from safelight.images.decoding import decode, read_header
from safelight.images.frames import iter_frames
from safelight.images.sniff import is_image
from safelight.images.types import DecodeLimits, Frame, ImageHeader, ImageSource

__all__ = [
    "DecodeLimits",
    "Frame",
    "ImageHeader",
    "ImageSource",
    "decode",
    "is_image",
    "iter_frames",
    "read_header",
]
