"""Decode pictures with 16-bit colours to 8 bits with rounding; Pillow keeps only the high byte of each sample."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from safelight.images.arrays import narrow_high_low
from safelight.images.conversion import iter_parts

_SIXTEEN_BIT_MODES = ("RGB;16", "RGBA;16", "RGBX;16", "CMYK;16", "LA;16")


def narrow_to_8bit(image: Image.Image) -> Image.Image:
    """Decode a still picture with 16-bit colours to 8 bits, rounded; return any other picture undecoded.

    Pillow's raw modes ";16B" and ";16L" take the first or the second byte of a sample, so decoding once with each gives
    both.
    """
    rawmode = _rawmode(image)
    if not isinstance(image, ImageFile.ImageFile) or not rawmode.startswith(_SIXTEEN_BIT_MODES):
        return image
    image.info["sample_bits"] = 16
    if rawmode.startswith("LA"):
        return _narrow_grey_alpha(image)
    return _narrow_colors(image, rawmode)


def _rawmode(image: Image.Image) -> str:
    """Pillow's raw mode of a still picture; empty if there is none."""
    tiles = getattr(image, "tile", ())
    if not tiles or getattr(image, "is_animated", False):
        return ""
    args = tiles[0].args
    return str(args[0] if isinstance(args, tuple) and args else args)


def _narrow_colors(image: ImageFile.ImageFile, rawmode: str) -> Image.Image:
    """Narrow the picture in place, or to a new one in mode RGBA if one 16-bit colour means transparent."""
    low = _reopen(image)
    _set_rawmode(low, _other_byte_order(rawmode))
    low.load()
    image.load()
    key = image.info.pop("transparency", None)
    result: Image.Image = image
    if isinstance(key, tuple):
        result = Image.new("RGBA", image.size, None)
        result.info = image.info
    for (box, first), (_, second) in zip(iter_parts(image), iter_parts(low), strict=True):
        high_bytes, low_bytes = np.asarray(first), np.asarray(second)
        samples = narrow_high_low(high_bytes, low_bytes)
        if isinstance(key, tuple):
            opaque = ((high_bytes != _high_bytes(key)) | (low_bytes != _low_bytes(key))).any(axis=2)
            samples = np.dstack([samples, opaque.astype(np.uint8) * np.uint8(255)])
        result.paste(Image.fromarray(samples, result.mode), box)
    return result


def _narrow_grey_alpha(image: ImageFile.ImageFile) -> Image.Image:
    """Decode grey with alpha by reading a pixel's four bytes as RGBA: high and low byte of grey and of alpha."""
    _set_rawmode(image, "RGBA")
    image.load()
    for box, part in iter_parts(image):
        samples = np.asarray(part)
        grey_alpha = narrow_high_low(samples[:, :, ::2], samples[:, :, 1::2])
        image.paste(Image.fromarray(grey_alpha[:, :, [0, 0, 0, 1]]), box)
    return image


def _reopen(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    assert isinstance(image.fp, io.BytesIO)  # we opened it that way; this tells mypy
    return type(image)(io.BytesIO(image.fp.getvalue()))


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    def args(old: tuple[Any, ...] | str | None) -> tuple[Any, ...] | str:
        return (rawmode, *old[1:]) if isinstance(old, tuple) else rawmode

    image.tile = [tile._replace(args=args(tile.args)) for tile in image.tile]


def _other_byte_order(rawmode: str) -> str:
    order = rawmode[-1]
    if order == "N":  # the machine's own
        order = "L" if sys.byteorder == "little" else "B"
    return rawmode[:-1] + ("B" if order == "L" else "L")


def _high_bytes(key: tuple[int, ...]) -> NDArray[np.uint8]:
    return (np.asarray(key, np.uint16) >> 8).astype(np.uint8)


def _low_bytes(key: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.asarray(key, np.uint16).astype(np.uint8)
