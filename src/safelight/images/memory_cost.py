"""Estimate the memory that decoding and encoding take, so that it can be reserved before a picture is decoded."""

from __future__ import annotations

from types import MappingProxyType

from safelight.file_formats import FileFormat
from safelight.images.arrays import CHUNK_PIXELS
from safelight.images.formats import jpeg
from safelight.images.types import DecodeLimits, FileLayout

_RGB_BYTES = 4
"""Bytes per pixel of a Pillow image in mode RGB."""
_PART_BYTES = 48
"""Bytes per pixel of the intermediate results when a part of the picture is converted to sRGB."""
_ROW_BYTES = 24
"""Bytes per column of the rows that a decoder holds: three rows of up to four samples of two bytes."""
_FIXED_BYTES = 2 << 20
"""Bytes of a decoder, a colour transform and freed pages that are not returned, independent of the size."""
_ENCODE_BYTES: MappingProxyType[FileFormat, tuple[int, int]] = MappingProxyType(
    {"png": (4, 4), "jpeg": (4, 4), "webp": (30, 50)}
)


def decode_memory(layout: FileLayout, limits: DecodeLimits, shrink_to: int | None = None) -> int:
    """Peak bytes of memory that `decode`, or the most expensive step of `frames`, takes beside the file's own bytes.

    The memory of a child process that decodes is included.

    Args:
        layout: The result of `inspect`.
        limits: As for `decode`; if several frames of an animation are sampled, one is kept beside the next.
        shrink_to: As for `decode`.

    Returns:
        An upper bound; for most pictures less than twice the actual peak.
    """
    return max(_page_memory(page, limits, shrink_to) for page in (layout, *layout.other_pages))


def _page_memory(layout: FileLayout, limits: DecodeLimits, shrink_to: int | None) -> int:
    head = layout.header
    width, height = head.width, head.height
    if head.format == "JPEG" and shrink_to:
        scale = jpeg.decoder_scale(width, height, shrink_to)
        width, height = -(-width // scale), -(-height // scale)
    pixels, per_pixel = width * height, layout.pixel_bytes
    kept = (head.frame_count or 1) > 1 and limits.max_frames > 1
    if layout.needs_conversion or kept:
        per_pixel = max(per_pixel, min(per_pixel, _RGB_BYTES) + _RGB_BYTES) + (
            _RGB_BYTES if layout.needs_conversion and kept else 0
        )
    between = min(pixels, CHUNK_PIXELS) * _PART_BYTES
    return pixels * per_pixel + layout.buffer_bytes + head.width * _ROW_BYTES + between + _FIXED_BYTES


def encode_memory(size: tuple[int, int], kind: FileFormat) -> int:
    """Peak bytes of memory that `encode_image` takes beside the picture, including the encoded file.

    Args:
        size: Width and height in pixels.
        kind: The format.
    """
    own, file = _ENCODE_BYTES[kind]
    return size[0] * size[1] * (own + file) + _FIXED_BYTES
