"""Decode anything that holds a picture to upright sRGB pixels, within stated limits."""

from safelight.images.decode import decode, header
from safelight.images.frames import frames
from safelight.images.picture import DecodeLimits, Frame, Header, ImageSource
from safelight.images.sniff import is_picture

__all__ = ["DecodeLimits", "Frame", "Header", "ImageSource", "decode", "frames", "header", "is_picture"]
