"""Files with 16-bit colours: Pillow keeps only the high byte of each sample, we round."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from safelight.images.arrays import narrow

_WIDE = ("RGB;16", "RGBA;16", "RGBX;16", "CMYK;16", "LA;16")


def narrowed(image: Image.Image) -> Image.Image:
    """A still with 16-bit colours decoded to 8 bits, rounded; any other picture as it is, not decoded yet.

    Pillow's raw modes ";16B" and ";16L" take the first or the second byte of a sample, so decoding once with
    each gives both.
    """
    rawmode = _rawmode(image)
    if not isinstance(image, ImageFile.ImageFile) or not rawmode.startswith(_WIDE):
        return image
    samples = _grey_alpha(image) if rawmode.startswith("LA") else _both_bytes(image, rawmode)
    samples = _with_transparency(samples, image.info.pop("transparency", None))
    mode = image.mode if samples.shape[2] == len(image.getbands()) else "RGBA"
    result = Image.frombytes(mode, image.size, narrow(samples).tobytes())
    result.info = image.info | {"sample_bits": 16}
    return result


def _rawmode(image: Image.Image) -> str:
    """How the samples of a still are stored; empty where there is nothing to know."""
    tiles = getattr(image, "tile", ())
    if not tiles or getattr(image, "is_animated", False):
        return ""
    args = tiles[0].args
    return str(args[0] if isinstance(args, tuple) and args else args)


def _both_bytes(image: ImageFile.ImageFile, rawmode: str) -> NDArray[np.uint16]:
    low = _reopened(image)
    _set_rawmode(low, _other(rawmode))
    high = np.asarray(image).astype(np.uint16)
    joined: NDArray[np.uint16] = high << 8 | np.asarray(low)
    return joined


def _grey_alpha(image: ImageFile.ImageFile) -> NDArray[np.uint16]:
    """Read the four bytes of a pixel as if they were RGBA: high and low of grey, high and low of alpha."""
    _set_rawmode(image, "RGBA")
    samples = np.asarray(image).view(">u2").astype(np.uint16)
    return samples[:, :, [0, 0, 0, 1]]


def _reopened(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    assert isinstance(image.fp, io.BytesIO)  # we opened it so; this tells mypy
    return type(image)(io.BytesIO(image.fp.getvalue()))


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    def args(old: tuple[Any, ...] | str | None) -> tuple[Any, ...] | str:
        return (rawmode, *old[1:]) if isinstance(old, tuple) else rawmode

    image.tile = [tile._replace(args=args(tile.args)) for tile in image.tile]


def _other(rawmode: str) -> str:
    order = rawmode[-1]
    if order == "N":  # the machine's own
        order = "L" if sys.byteorder == "little" else "B"
    return rawmode[:-1] + ("B" if order == "L" else "L")


def _with_transparency(samples: NDArray[np.uint16], key: object) -> NDArray[np.uint16]:
    """Add alpha where one 16-bit colour stands for transparent."""
    if not isinstance(key, tuple):
        return samples
    opaque = (samples != np.asarray(key, np.uint16)).any(axis=2)
    return np.dstack([samples, opaque.astype(np.uint16) * np.uint16(65535)])
