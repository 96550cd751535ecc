"""Read and apply the EXIF orientation, the only EXIF field that changes pixels."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
_TRANSPOSES = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


def apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation (1..8; other values change nothing)."""
    method = _TRANSPOSES.get(orientation)
    return image if method is None else image.transpose(method)


def oriented_position(
    orientation: int, box: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[int, int]:
    """The position of a part of a picture after both are turned upright.

    Args:
        orientation: 1 to 8.
        box: The part as stored: left, top, right, bottom.
        size: Width and height of the whole picture as stored.

    Returns:
        The part's upper left corner: x, y.
    """
    left, top, right, bottom = box
    x = size[0] - right if orientation in (2, 3, 7, 8) else left
    y = size[1] - bottom if orientation in (3, 4, 6, 7) else top
    return (y, x) if orientation >= 5 else (x, y)


def read_orientation(info: Mapping[Any, Any]) -> int:
    """The orientation (1..8) in a Pillow ``info`` mapping; 1 if there is none or it is invalid."""
    block = info.get("exif") or _decode_raw_profile(info.get("Raw profile type exif"))
    if not isinstance(block, bytes):
        return 1
    try:
        found = _parse_orientation(block.removeprefix(b"Exif\0\0"))
    except struct.error:  # the block ends too early
        return 1
    return found if found in _TRANSPOSES else 1


def exif_with_orientation(orientation: int) -> bytes:
    """An EXIF block with the orientation as its only field."""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


def _parse_orientation(block: bytes) -> int:
    """Read the orientation without Pillow, whose reader warns on damaged blocks and parses every field."""
    order = "<" if block[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    entry = struct.Struct(f"{order}HHIH")
    for at in range(start + 2, start + 2 + 12 * min(count, 512), 12):
        tag, kind, _, value = entry.unpack_from(block, at)
        if tag == ORIENTATION and kind == 3:
            return int(value)
    return 1


def _decode_raw_profile(text: object) -> bytes | None:
    """Decode EXIF as older versions of ImageMagick stored it in PNG: three lines of preamble, then hexadecimal."""
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None
