"""JPEG: check the structure, and open the file with Pillow."""

from __future__ import annotations

import io
import re
import struct

from PIL import Image, JpegImagePlugin

from safelight.errors import ImageCorruptError, ImageFormatError, ImageTruncatedError
from safelight.images.metadata.exif_orientation import read_orientation
from safelight.images.types import FileLayout, ImageHeader

MAX_SCANS = 100
_MAX_SEGMENTS = 4096
_MAX_EXIF_SEGMENTS = 16  # Pillow joins them at quadratic cost
_MAX_JUNK = 4096
_SOS, _EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class JpegFile(JpegImagePlugin.JpegImageFile):
    """Pillow's JPEG plugin without its EXIF reader, which is slow and warns on damaged blocks."""

    def _read_dpi_from_exif(self) -> None:
        pass


def inspect(data: bytes) -> FileLayout:
    """Read the size and check the segments before the first scan.

    Raises:
        ImageTruncatedError: The segments run past the end of the file.
        ImageFormatError: The samples do not have 8 bits.
        ImageCorruptError: There is no frame before the first scan, or there are more segments or scans than in any
            real picture.
    """
    try:
        return _inspect(data)
    except (struct.error, IndexError) as error:
        raise ImageTruncatedError("The JPEG picture ends before its pixels begin.") from error


def open_image(data: bytes, layout: FileLayout) -> Image.Image:  # noqa: ARG001 - all formats are opened alike
    """Open the picture without decoding it."""
    return JpegFile(io.BytesIO(data))


def set_decoder_scale(image: Image.Image, shrink_to: int) -> int:
    """Let the decoder scale by 1/2, 1/4 or 1/8 if both sides keep ``shrink_to`` pixels; returns 2, 4, 8 or 1."""
    if not isinstance(image, JpegFile):
        return 1
    width, height = image.size
    scale = decoder_scale(width, height, shrink_to)
    if scale > 1:
        # Pillow chooses the largest reduction that keeps at least this size
        image.draft(None, (width // scale, height // scale))
    return scale


def decoder_scale(width: int, height: int, shrink_to: int) -> int:
    """The largest of 8, 4 and 2 by which both sides can be divided and keep ``shrink_to`` pixels; else 1."""
    return next((scale for scale in (8, 4, 2) if _scaled_side(width, height, scale) >= shrink_to), 1)


def _inspect(data: bytes) -> FileLayout:
    frame: tuple[int, bytes] | None = None
    position = 2
    exif: list[bytes] = []
    profiled = False
    for _ in range(_MAX_SEGMENTS):
        marker, position = _next_marker(data, position)
        if marker in _STANDALONE_MARKERS:
            continue
        if marker == _EOI:
            raise ImageTruncatedError("The JPEG picture ends before its pixels begin.")
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _SOF:
            frame = marker, data[position : position + length]
        if marker == _APP1 and data[position + 2 : position + 6] == b"Exif":
            exif.append(data[position + 2 : position + length])
        profiled = profiled or (marker == _APP2 and data[position + 2 : position + 13] == b"ICC_PROFILE")
        if marker == _SOS or len(exif) > _MAX_EXIF_SEGMENTS:
            break
        position += max(length, 2)
    if frame is None or marker != _SOS:
        raise ImageCorruptError("The JPEG picture's segments make no sense.")
    turned = len(exif) > 1 or (len(exif) == 1 and read_orientation({"exif": exif[0]}) != 1)
    return _layout(data, *frame, scan=position, changed=profiled or turned)


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """The next marker from a position on, and the position of its content."""
    if data[position] == 0xFF and 0 < data[position + 1] < 0xFF:
        return data[position + 1], position + 2
    found = _MARKER.search(data, position, position + _MAX_JUNK)
    if found:
        return data[found.end() - 1], found.end()
    if position + _MAX_JUNK >= len(data):
        raise ImageTruncatedError("The JPEG picture ends before its pixels begin.")
    raise ImageCorruptError("The JPEG picture has no segment where one should be.")


def _layout(data: bytes, marker: int, frame: bytes, scan: int, changed: bool) -> FileLayout:
    bits, height, width, components = struct.unpack_from(">BHHB", frame, 2)
    if bits != 8:
        raise ImageFormatError(f"JPEG with {bits} bits a sample is not opened.")
    several = marker in _PROGRESSIVE or data[scan + 2] < components
    if several and _has_too_many_scans(data, scan):
        raise ImageCorruptError(f"The JPEG picture has too many scans: more than {MAX_SCANS}.")
    return FileLayout(
        ImageHeader("JPEG", width, height),
        pixel_bytes=1 if components == 1 else 4,
        needs_conversion=changed or components != 3,
        buffer_bytes=_coefficient_bytes(width, height, frame[8 : 8 + 3 * components]) if several else 0,
    )


def _coefficient_bytes(width: int, height: int, components: bytes) -> int:
    """Bytes of the coefficients that the decoder keeps until the last scan: two per sample, in whole blocks."""
    factors = [(max(1, byte >> 4), max(1, byte & 15)) for byte in components[1::3]]
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    blocks = -(-width // (8 * across)) * -(-height // (8 * down))
    return sum(h * v for h, v in factors) * blocks * 64 * 2


def _has_too_many_scans(data: bytes, position: int) -> bool:
    """Whether there are more than ``MAX_SCANS`` scans; for each one the decoder processes the whole picture again."""
    if data.count(b"\xff\xda", position) < MAX_SCANS:
        return False
    scans = 1
    while scans <= MAX_SCANS and (found := _MARKER_IN_SCAN.search(data, position)):
        marker = data[found.end() - 1]
        if marker == _EOI:
            return False
        scans += marker == _SOS
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans > MAX_SCANS


def _scaled_side(width: int, height: int, scale: int) -> int:
    """The shorter side at 1/scale, rounded up like the decoder does; 0 if Pillow cannot scale by that much."""
    side = min(width, height)
    return -(-side // scale) if side >= scale else 0
