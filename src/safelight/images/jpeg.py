"""JPEG: structure, and Pillow's decoder."""

from __future__ import annotations

import io
import re
import struct

from PIL import Image, JpegImagePlugin

from safelight.errors import ImageCorruptError, ImageFormatError, ImageTruncatedError
from safelight.images.picture import Header, Layout

MAX_SCANS = 100
_MAX_SEGMENTS = 4096
_MAX_EXIF_SEGMENTS = 16  # Pillow joins them at quadratic cost
_MAX_JUNK = 4096
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class JpegFile(JpegImagePlugin.JpegImageFile):
    """Pillow's JPEG without its EXIF reader, which is slow and warns on damaged blocks."""

    def _read_dpi_from_exif(self) -> None:
        pass


def inspect(data: bytes) -> Layout:
    """Size and soundness from the segments before the first scan.

    Raises:
        ImageTruncatedError: The segments run past the end.
        ImageFormatError: Samples of other than 8 bits.
        ImageCorruptError: No frame before the first scan, or more segments or scans than any real picture has.
    """
    try:
        return _inspect(data)
    except (struct.error, IndexError) as error:
        raise ImageTruncatedError("The JPEG picture ends before its pixels begin.") from error


def open_image(data: bytes, layout: Layout) -> Image.Image:  # noqa: ARG001 - all formats are opened alike
    """The picture, its pixels not decoded yet."""
    return JpegFile(io.BytesIO(data))


def shrink(image: Image.Image, shrink_to: int) -> int:
    """Let the decoder scale by 1/2, 1/4 or 1/8 where both sides stay at least ``shrink_to``; returns 2, 4, 8 or 1."""
    if not isinstance(image, JpegFile):
        return 1
    width, height = image.size
    scale = next((s for s in (8, 4, 2) if _remains(width, height, s) >= shrink_to), 1)
    if scale > 1:
        # Pillow takes the largest scale that leaves at least this size
        image.draft(None, (width // scale, height // scale))
    return scale


def _inspect(data: bytes) -> Layout:
    frame: tuple[int, bytes] | None = None
    position = 2
    exif = 0
    for _ in range(_MAX_SEGMENTS):
        marker, position = _next_marker(data, position)
        if marker in _ALONE:
            continue
        if marker == _EOI:
            raise ImageTruncatedError("The JPEG picture ends before its pixels begin.")
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _SOF:
            frame = marker, data[position : position + length]
        exif += marker == _APP1 and data[position + 2 : position + 6] == b"Exif"
        if marker == _SOS or exif > _MAX_EXIF_SEGMENTS:
            break
        position += max(length, 2)
    if frame is None or marker != _SOS:
        raise ImageCorruptError("The JPEG picture's segments make no sense.")
    return _layout(data, *frame, scan=position)


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """The next marker from here, and where its content begins."""
    if data[position] == 0xFF and 0 < data[position + 1] < 0xFF:
        return data[position + 1], position + 2
    found = _MARKER.search(data, position, position + _MAX_JUNK)
    if found:
        return data[found.end() - 1], found.end()
    if position + _MAX_JUNK >= len(data):
        raise ImageTruncatedError("The JPEG picture ends before its pixels begin.")
    raise ImageCorruptError("The JPEG picture has no segment where one should be.")


def _layout(data: bytes, marker: int, frame: bytes, scan: int) -> Layout:
    bits, height, width, components = struct.unpack_from(">BHHB", frame, 2)
    if bits != 8:
        raise ImageFormatError(f"JPEG with {bits} bits a sample is not opened.")
    if (marker in _PROGRESSIVE or data[scan + 2] < components) and _too_many_scans(data, scan):
        raise ImageCorruptError(f"The JPEG picture has too many scans: more than {MAX_SCANS}.")
    return Layout(Header("JPEG", width, height))


def _too_many_scans(data: bytes, position: int) -> bool:
    """Each scan makes the decoder go over the whole picture once more, however short the scan is."""
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


def _remains(width: int, height: int, scale: int) -> int:
    """The shorter side at 1/scale, rounded up as the decoder does; 0 where Pillow cannot scale by that much."""
    side = min(width, height)
    return -(-side // scale) if side >= scale else 0
