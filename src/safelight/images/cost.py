"""How much memory decoding and encoding a picture takes, so that it can be reserved before anything is decoded."""

from __future__ import annotations

from types import MappingProxyType

from safelight.images.encode import FileFormat
from safelight.images.picture import DecodeLimits, Layout

# bytes a pixel at the peak, as measured: the decoder's own buffers and every step to upright sRGB
_DECODE = MappingProxyType(
    {"JPEG": 18, "PNG": 18, "WEBP": 24, "GIF": 18, "BMP": 13, "TIFF": 24, "AVIF": 24, "HEIF": 24}
)
_WIDE = 48
_ENCODE: MappingProxyType[FileFormat, int] = MappingProxyType({"png": 12, "jpeg": 12, "webp": 24})


def decode_bytes(layout: Layout, limits: DecodeLimits, shrink_to: int | None = None) -> int:  # noqa: ARG001
    """The most bytes of memory that `decode`, or one step of `frames`, takes beyond the file's own bytes.

    Args:
        layout: What `inspect` says of the file.
        limits: As for `decode`.
        shrink_to: As for `decode`.
    """
    head = layout.header
    pixels = max(head.width * head.height, layout.coded)
    return pixels * (_WIDE if layout.bits > 8 else _DECODE[head.format])


def encode_bytes(size: tuple[int, int], kind: FileFormat) -> int:
    """The most bytes of memory that `encode_picture` takes, the file's own bytes included.

    Args:
        size: Width and height in pixels.
        kind: The format.
    """
    return size[0] * size[1] * _ENCODE[kind]
