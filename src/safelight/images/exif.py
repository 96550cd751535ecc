"""The one EXIF field that changes pixels: the orientation."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
_UPRIGHT = MappingProxyType(
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


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation (1..8; anything else changes nothing)."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def place(orientation: int, box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Where a part of a picture lies, once it and the whole picture are upright.

    Args:
        orientation: 1 to 8.
        box: The part as stored: left, top, right, bottom.
        size: Width and height of the whole picture as stored.

    Returns:
        The part's left upper corner: x, y.
    """
    left, top, right, bottom = box
    x = size[0] - right if orientation in (2, 3, 7, 8) else left
    y = size[1] - bottom if orientation in (3, 4, 6, 7) else top
    return (y, x) if orientation >= 5 else (x, y)


def orientation_of(info: Mapping[Any, Any]) -> int:
    """The orientation (1..8) that a Pillow ``info`` mapping carries; 1 where there is none that makes sense."""
    block = info.get("exif") or _raw_profile(info.get("Raw profile type exif"))
    if not isinstance(block, bytes):
        return 1
    try:
        found = _orientation(block.removeprefix(b"Exif\0\0"))
    except struct.error:  # the block ends too early
        return 1
    return found if found in _UPRIGHT else 1


def block_with(orientation: int) -> bytes:
    """An EXIF block that says nothing but the orientation."""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


def _orientation(block: bytes) -> int:
    """Read Pillow-free: Pillow's own reader warns on damaged blocks, and it parses every field."""
    order = "<" if block[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    entry = struct.Struct(f"{order}HHIH")
    for at in range(start + 2, start + 2 + 12 * min(count, 512), 12):
        tag, kind, _, value = entry.unpack_from(block, at)
        if tag == ORIENTATION and kind == 3:
            return int(value)
    return 1


def _raw_profile(text: object) -> bytes | None:
    """The way ImageMagick used to put EXIF into PNG: three lines of preamble, then hexadecimal."""
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None
