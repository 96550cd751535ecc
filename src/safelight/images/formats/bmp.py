"""BMP: check the structure, and open the file with Pillow."""

from __future__ import annotations

import io
import struct

from PIL import BmpImagePlugin, Image

from safelight.errors import ImageCorruptError, ImageFormatError, ImageTruncatedError
from safelight.images.types import FileLayout, ImageHeader

_CORE_HEADER = 12
_RLE = (1, 2)
# Pillow decodes run-length coding in Python; these limits bound the time it takes
_RLE_BYTES = 4 << 20
_RLE_PIXELS = 16_000_000


def inspect(data: bytes) -> FileLayout:
    """Read the size from the header.

    Raises:
        ImageTruncatedError: The file ends within its header.
        ImageCorruptError: The width is negative.
        ImageFormatError: The picture is run-length coded and too large for Pillow's slow decoder.
    """
    try:
        width, height, bits, compression = _read_header(data)
    except struct.error as error:
        raise ImageTruncatedError("The BMP picture ends within its header.") from error
    if width < 0:
        raise ImageCorruptError("The BMP picture has a negative width.")
    if compression in _RLE and (len(data) > _RLE_BYTES or width * height > _RLE_PIXELS):
        raise ImageFormatError("Run-length coded BMP is opened up to 4 MiB and 16 million pixels.")
    deep = bits > 8
    pixels = width * height if compression in _RLE else 0  # decoded to bytes before a picture is made of them
    return FileLayout(
        ImageHeader("BMP", width, height),
        bits,
        pixel_bytes=4 if deep else 1,
        needs_conversion=bits != 24,
        buffer_bytes=3 * pixels,
    )


def open_image(data: bytes, layout: FileLayout) -> Image.Image:  # noqa: ARG001 - all formats are opened alike
    """Open the picture without decoding it."""
    return BmpImagePlugin.BmpImageFile(io.BytesIO(data))


def _read_header(data: bytes) -> tuple[int, int, int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == _CORE_HEADER:
        width, height, bits = struct.unpack_from("<HH2xH", data, 18)
        return width, height, bits, 0
    width, height, bits, compression = struct.unpack_from("<ii2xHI", data, 18)
    return width, abs(height), bits, compression  # a negative height means rows from top to bottom
