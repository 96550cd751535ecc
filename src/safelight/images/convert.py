"""Any Pillow image to upright RGB with 8 bits a sample."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from PIL import Image

from safelight.errors import ImageArrayError
from safelight.images.arrays import from_unit, narrow
from safelight.images.exif import orientation_of, upright
from safelight.images.icc import to_srgb

# The mode that loses nothing and that the steps below know: L, RGB, CMYK, LAB, and LA and RGBA
_PLAIN = MappingProxyType(
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
_OPAQUE = (255, 255)


def to_rgb(image: Image.Image, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    """Convert a loaded picture.

    Args:
        image: Any mode; its ``info`` gives the ICC profile, the transparent colour and the EXIF orientation.
        background: What transparent pixels are composited on.
        notes: What was done is added here.

    Returns:
        The picture in mode RGB, upright; the very image where nothing had to be done.

    Raises:
        ImageArrayError: Mode I or F with values of no known range.
    """
    info = image.info
    bits = info.get("sample_bits")
    if isinstance(bits, int) and bits > 8:
        notes.append(f"{bits} bit scaled to 8")
    image = _plain(_eight_bit(image, notes))
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    base = image if alpha is None else image.convert(image.mode[:-1])
    rgb = to_srgb(base, info.get("icc_profile"), notes)
    if alpha is not None and alpha.getextrema() != _OPAQUE:
        rgb = _composite(rgb, alpha, background)
        notes.append(f"alpha composited on {_colour_name(background)}")
    return _upright(rgb, orientation_of(info), notes)


def _upright(image: Image.Image, orientation: int, notes: list[str]) -> Image.Image:
    if orientation != 1:
        notes.append(f"orientation {orientation} applied")
    return upright(image, orientation)


def _plain(image: Image.Image) -> Image.Image:
    mode = _PLAIN.get(image.mode, image.mode)
    # a text chunk of a PNG may bear any key, and its value is a str
    if isinstance(image.info.get("transparency"), int | bytes | tuple) and mode in ("L", "RGB"):
        mode = "LA" if mode == "L" else "RGBA"
    return image if mode == image.mode else image.convert(mode)


def _composite(image: Image.Image, alpha: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=alpha)
    return canvas


def _colour_name(colour: tuple[int, int, int]) -> str:
    names = {(255, 255, 255): "white", (0, 0, 0): "black"}
    return names.get(colour, f"#{bytes(colour).hex()}")


def _eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_sixteen(image, notes)
    if image.mode in ("I", "F"):
        return _from_numbers(image, notes)
    return image


def _from_sixteen(image: Image.Image, notes: list[str]) -> Image.Image:
    samples = np.asarray(image)
    grey = Image.fromarray(narrow(samples))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray((samples != key).astype(np.uint8) * np.uint8(255)))
    notes.append("16 bit scaled to 8")
    return grey


def _from_numbers(image: Image.Image, notes: list[str]) -> Image.Image:
    """Modes I and F say nothing of their range, so the smallest usual one that holds all values is taken.

    Those are 0..1 for floats, 0..255 as Pillow converts, and 0..65535 as older Pillows open 16-bit files.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535) or (image.mode == "F" and high > 255):
        raise ImageArrayError(f"The picture's mode is {image.mode} and its values are {low} to {high}.")
    if image.mode == "F" and high <= 1:
        return Image.fromarray(from_unit(values))
    if high <= 255:
        return Image.fromarray(np.rint(values).astype(np.uint8))
    notes.append("16 bit scaled to 8")
    return Image.fromarray(narrow(values))
