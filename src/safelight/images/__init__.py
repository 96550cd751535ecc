"""Decode anything that holds a picture to upright sRGB pixels, within stated limits."""

from safelight.images.decoding import decode, read_header
from safelight.images.frames import iter_frames
from safelight.images.types import DecodeLimits, Frame, ImageHeader, ImageSource
from safelight.images.sniff import is_image

__all__ = ["DecodeLimits", "Frame", "ImageHeader", "ImageSource", "decode", "iter_frames", "read_header", "is_image"]
