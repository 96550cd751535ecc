"""Read an upscaler network's scale factor from its file's header, without its weights and without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open

_IN_A_NAME = re.compile(r"(?<![0-9A-Za-z])(?:([1-8])x|x([1-8]))(?![0-9])", re.IGNORECASE)
_NUMBERED = re.compile(r"(body|model|upconv|conv_up)\.?(\d{1,3})\.")


def factor_of(path: Path) -> int | None:
    """Return the scale factor of one pass of a network; None if it cannot be determined.

    For RealESRGAN Compact and ESRGAN, in all their layouts, it follows from the shapes of the last layers; for other
    architectures from the file's name, if that contains 4x or x4, as such names usually do.
    """
    try:
        with safe_open(path, framework="np") as file:
            names = frozenset(file.keys())

            def sides(name: str) -> list[int]:
                return list(file.get_slice(name).get_shape())

            found = _compact(names, sides) or _esrgan(names, sides)
    except (SafetensorError, OSError, ValueError, LookupError):  # a damaged file, or inconsistent shapes
        return None
    return found or _named(path.stem)


def _compact(names: Collection[str], sides: Callable[[str], list[int]]) -> int | None:
    """RealESRGAN Compact: the last layer has scale² channels for each input channel."""
    if not {"body.0.weight", "body.1.weight"} <= set(names):
        return None
    channels, pixels = sides("body.0.weight")[1], sides(f"body.{_last(names, 'body')}.bias")[0]
    return _root(pixels, channels)


def _esrgan(names: Collection[str], sides: Callable[[str], list[int]]) -> int | None:
    """ESRGAN: each upsampling layer doubles the size; Real-ESRGAN may first fold pixels into channels."""
    if {"conv_first.weight", "conv_last.weight"} <= set(names):
        first, last = "conv_first.weight", "conv_last.weight"
        doublings = max(_last(names, "upconv"), _last(names, "conv_up"))
    elif "model.0.weight" in names and any(name.startswith("model.1.sub.") for name in names):
        end = _last(names, "model")
        first, last = "model.0.weight", f"model.{end}.weight"
        # Each doubling has three layers, after the first two and before the last three.
        doublings = (end - 4) // 3
    else:
        return None
    folded = _root(sides(first)[1], sides(last)[0]) or 1
    return 2**doublings // folded if 0 <= doublings <= 3 else None


def _last(names: Collection[str], start: str) -> int:
    """Return the highest layer number with this name prefix; 0 if there is none."""
    numbers = (found for name in names if (found := _NUMBERED.match(name)) and found[1] == start)
    return max((int(found[2]) for found in numbers), default=0)


def _root(many: int, each: int) -> int | None:
    """Return the integer whose square, times ``each``, is ``many``; None if there is none."""
    root = math.isqrt(many // each)
    return root if root and root**2 * each == many else None


def _named(name: str) -> int | None:
    found = _IN_A_NAME.search(name)
    return int(found[1] or found[2]) if found else None
