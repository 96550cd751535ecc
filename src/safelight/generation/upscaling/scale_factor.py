"""Read an upscaler network's scale factor from its file's header, without its weights and without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open

_FACTOR_IN_NAME = re.compile(r"(?<![0-9A-Za-z])(?:([1-8])x|x([1-8]))(?![0-9])", re.IGNORECASE)
_LAYER_NUMBER = re.compile(r"(body|model|upconv|conv_up)\.?(\d{1,3})\.")


def read_scale_factor(path: Path) -> int | None:
    """Return the scale factor of one pass of a network; None if it cannot be determined.

    For RealESRGAN Compact and ESRGAN, in all their layouts, it follows from the shapes of the last layers; for other
    architectures from the file's name, if that contains 4x or x4, as such names usually do.
    """
    try:
        with safe_open(path, framework="np") as file:
            names = frozenset(file.keys())

            def sides(name: str) -> list[int]:
                return list(file.get_slice(name).get_shape())

            found = _compact_factor(names, sides) or _esrgan_factor(names, sides)
    except (SafetensorError, OSError, ValueError, LookupError):  # a damaged file, or inconsistent shapes
        return None
    return found or _factor_from_name(path.stem)


def _compact_factor(tensor_names: Collection[str], shape_of: Callable[[str], list[int]]) -> int | None:
    """RealESRGAN Compact: the last layer has scale² channels for each input channel."""
    if not {"body.0.weight", "body.1.weight"} <= set(tensor_names):
        return None
    channels, pixels = (
        shape_of("body.0.weight")[1],
        shape_of(f"body.{_last_layer(tensor_names, 'body')}.bias")[0],
    )
    return _integer_root(pixels, channels)


def _esrgan_factor(tensor_names: Collection[str], shape_of: Callable[[str], list[int]]) -> int | None:
    """ESRGAN: each upsampling layer doubles the size; Real-ESRGAN may first fold pixels into channels."""
    if {"conv_first.weight", "conv_last.weight"} <= set(tensor_names):
        first, last = "conv_first.weight", "conv_last.weight"
        doublings = max(_last_layer(tensor_names, "upconv"), _last_layer(tensor_names, "conv_up"))
    elif "model.0.weight" in tensor_names and any(name.startswith("model.1.sub.") for name in tensor_names):
        end = _last_layer(tensor_names, "model")
        first, last = "model.0.weight", f"model.{end}.weight"
        # Each doubling has three layers, after the first two and before the last three.
        doublings = (end - 4) // 3
    else:
        return None
    folded = _integer_root(shape_of(first)[1], shape_of(last)[0]) or 1
    return 2**doublings // folded if 0 <= doublings <= 3 else None


def _last_layer(tensor_names: Collection[str], prefix: str) -> int:
    """Return the highest layer number with this name prefix; 0 if there is none."""
    numbers = (found for name in tensor_names if (found := _LAYER_NUMBER.match(name)) and found[1] == prefix)
    return max((int(found[2]) for found in numbers), default=0)


def _integer_root(product: int, divisor: int) -> int | None:
    """Return the integer whose square, times ``divisor``, is ``product``; None if there is none."""
    root = math.isqrt(product // divisor)
    return root if root and root**2 * divisor == product else None


def _factor_from_name(name: str) -> int | None:
    found = _FACTOR_IN_NAME.search(name)
    return int(found[1] or found[2]) if found else None
