"""Convert any Pillow image to upright RGB with 8 bits per sample.

The conversion takes a few rows at a time, so that intermediate results take a few megabytes and no step takes long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from safelight.errors import ImageArrayError
from safelight.images.arrays import CHUNK_PIXELS, narrow_16bit, unit_to_8bit
from safelight.images.icc import Conversion, srgb_conversion
from safelight.images.metadata.exif_orientation import apply_orientation, oriented_position, read_orientation

# The lossless mode that the steps below support: L, RGB, CMYK, LAB, LA or RGBA
_BASE_MODES = MappingProxyType(
    {
        "1": "L",
        "P": "RGB",
        "PA": "RGBA",
        "La": "LA",
        "RGBa": "RGBA",
        "RGBX": "RGB",
        "YCbCr": "RGB",
        "HSV": "RGB",
    }
)
_ALPHA = ("LA", "RGBA")
_OPAQUE = (255, 255)


def convert_to_rgb(image: Image.Image, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    """Convert a loaded picture.

    Args:
        image: A picture of any mode; its ``info`` holds the ICC profile, the transparent colour and the EXIF
            orientation.
        background: The colour that transparent pixels are composited on.
        notes: Notes on the conversion are appended here.

    Returns:
        The picture in mode RGB, upright; the same image if nothing had to be converted.

    Raises:
        ImageArrayError: Mode I or F with values outside all known ranges.
    """
    info = image.info
    bits = info.get("sample_bits")
    if isinstance(bits, int) and bits > 8:
        notes.append(f"{bits} bit scaled to 8")
    if image.mode in ("I", "F"):
        image = _from_numbers(image, notes)
    if image.mode.startswith("I;16"):
        notes.append("16 bit scaled to 8")
    mode = base_mode(image.mode, image.info)
    colours = srgb_conversion(mode.removesuffix("A"), info.get("icc_profile"), notes)
    orientation = read_orientation(info)
    if image.mode == "RGB" and mode == "RGB" and colours is None:
        rgb = apply_orientation(image, orientation)
    else:
        rgb = Image.new("RGB", image.size[::-1] if orientation >= 5 else image.size, None)
        opaque = True
        for box, part in iter_parts(image):
            plain = _to_base_mode(part, mode)
            opaque = opaque and (mode not in _ALPHA or plain.getchannel("A").getextrema() == _OPAQUE)
            done = apply_orientation(_to_srgb(plain, colours, background), orientation)
            rgb.paste(done, oriented_position(orientation, box, image.size))
        if not opaque:
            notes.append(f"alpha composited on {_colour_name(background)}")
    if orientation != 1:
        notes.append(f"orientation {orientation} applied")
    return rgb


def iter_parts(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Split a loaded picture into parts of a few rows, or of part of a row if it is very wide: box and copy of each."""
    columns, rows = min(image.width, CHUNK_PIXELS), max(1, CHUNK_PIXELS // image.width)
    for top in range(0, image.height, rows):
        for left in range(0, image.width, columns):
            box = left, top, min(left + columns, image.width), min(top + rows, image.height)
            yield box, image._new(image.im.crop(box))  # Image.crop would apply Pillow's own limit on pixels


def base_mode(mode: str, info: Mapping[str | tuple[int, int], Any]) -> str:
    """The mode that colours are converted from, lossless but for bit depth: L, RGB, CMYK, LAB, LA or RGBA."""
    key = info.get("transparency")
    if mode.startswith("I;16"):
        return "LA" if isinstance(key, int) else "L"
    mode = _BASE_MODES.get(mode, mode)
    # a text chunk of a PNG can have the key "transparency" too, but its value is a str
    return f"{mode}A" if isinstance(key, int | bytes | tuple) and mode in ("L", "RGB") else mode


def _to_base_mode(image: Image.Image, mode: str) -> Image.Image:
    if not image.mode.startswith("I;16"):
        return image if image.mode == mode else image.convert(mode)
    samples = np.asarray(image)
    grey = Image.fromarray(narrow_16bit(samples))
    if mode == "LA":
        opaque = samples != image.info["transparency"]
        grey.putalpha(Image.fromarray(opaque.astype(np.uint8) * np.uint8(255)))
    return grey


def _to_srgb(plain: Image.Image, colours: Conversion | None, background: tuple[int, int, int]) -> Image.Image:
    """Convert to sRGB, and composite on the background if there is an alpha channel."""
    base = plain.convert(plain.mode[:-1]) if plain.mode in _ALPHA else plain
    rgb = base if colours is None else colours(base)
    if plain.mode not in _ALPHA:
        return rgb
    canvas = Image.new("RGB", rgb.size, background)
    canvas.paste(rgb, mask=plain.getchannel("A"))
    return canvas


def _colour_name(colour: tuple[int, int, int]) -> str:
    names = {(255, 255, 255): "white", (0, 0, 0): "black"}
    return names.get(colour, f"#{bytes(colour).hex()}")


def _from_numbers(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert modes I and F, which have no defined range, from the smallest common range that holds all values.

    The ranges are 0..1 for floats, 0..255 as in Pillow's conversions, and 0..65535 as in 16-bit files opened by older
    versions of Pillow.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535) or (image.mode == "F" and high > 255):
        raise ImageArrayError(f"The picture's mode is {image.mode} and its values are {low} to {high}.")
    if image.mode == "F" and high <= 1:
        return Image.fromarray(unit_to_8bit(values))
    if high <= 255:
        return Image.fromarray(np.rint(values).astype(np.uint8))
    notes.append("16 bit scaled to 8")
    return Image.fromarray(narrow_16bit(values))
