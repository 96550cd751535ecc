"""Convert colours from any ICC profile to sRGB."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, cast

from PIL import Image, ImageCms

Conversion = Callable[[Image.Image], Image.Image]

# The primaries of sRGB as stored in a profile: XYZ relative to D50 (IEC 61966-2-1, Bradford-adapted)
_PRIMARIES = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
_CURVE = ((0.25, 0.0509), (0.5, 0.2140), (0.75, 0.5225))
_TOLERANCE = 0.002
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}


def srgb_conversion(mode: str, profile: object, notes: list[str]) -> Conversion | None:
    """Choose the conversion to sRGB.

    Args:
        mode: The mode of the pictures to convert: L, RGB, CMYK or LAB.
        profile: Their ICC profile, if any.
        notes: A note on the conversion is appended here.

    Returns:
        A function from a picture of this mode to mode RGB in sRGB; None if the picture is sRGB already.
    """
    if isinstance(profile, bytes) and profile:
        converted = _profile_conversion(mode, profile, notes)
        if converted is not None:
            return converted
    if mode == "LAB":
        return _build_transform(ImageCms.createProfile("LAB"), mode)
    return None if mode == "RGB" else _to_rgb


def _profile_conversion(mode: str, profile: bytes, notes: list[str]) -> Conversion | None:
    space = profile[16:20]
    device = (
        "RGB" if space == b"RGB " and mode == "L" else mode
    )  # a grey picture can have the profile of an RGB device
    if space == b"RGB " and is_srgb(profile):
        return None
    if space != _SPACES[device] and space in _SPACES.values():
        notes.append(f"ICC profile for {space.decode().strip()} ignored in a picture of mode {mode}")
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = _build_transform(opened, device)
        transform(Image.new(device, (1, 1)))
        name = _profile_name(opened)
    except Exception:  # noqa: BLE001 - a damaged profile must not cost the picture, whatever littlecms raises
        notes.append("damaged ICC profile ignored")
        return None
    notes.append(f"ICC profile '{name}' converted to sRGB")
    return transform if device == mode else lambda image: transform(_to_rgb(image))


def _build_transform(profile: Any, mode: str) -> Conversion:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    return lambda image: cast(Image.Image, ImageCms.applyTransform(image, transform))


def _to_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _profile_name(profile: ImageCms.ImageCmsProfile) -> str:
    text = profile.profile.profile_description or "without a name"
    return "".join(letter for letter in text if letter.isprintable())[:60].strip()


def is_srgb(profile: bytes) -> bool:
    """Whether a profile's primaries and tone curves are those of sRGB; its name is not trusted.

    Building a transform takes milliseconds, this takes microseconds, and most profiles are sRGB.
    """
    try:
        tags = _read_tags(profile)
        if b"A2B0" in tags or b"A2B1" in tags:
            return False
        return _primaries_match(tags) and all(
            _curve_matches(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")
        )
    except (struct.error, KeyError, IndexError, OverflowError, ValueError, ZeroDivisionError):
        return False


def _read_tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(min(count, 100)))
    return {name: profile[start : start + size] for name, start, size in entries}


def _primaries_match(tags: dict[bytes, bytes]) -> bool:
    for name, expected in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _PRIMARIES, strict=True):
        found = struct.unpack_from(">8x3i", tags[name])
        if any(abs(a / 65536 - b) > _TOLERANCE for a, b in zip(found, expected, strict=True)):
            return False
    return True


def _curve_matches(tag: bytes) -> bool:
    return all(abs(_curve_at(tag, x) - y) < _TOLERANCE for x, y in _CURVE)


def _curve_at(tag: bytes, x: float) -> float:
    """The tone curve at x (0..1), for the two types that sRGB profiles use; nan for any other."""
    if tag[:4] == b"para" and tag[8:10] == b"\0\x03":
        g, a, b, c, d = (value / 65536 for value in struct.unpack_from(">12x5i", tag))
        return float((a * x + b) ** g) if x >= d else c * x
    count = struct.unpack_from(">8xI", tag)[0] if tag[:4] == b"curv" else 0
    if count < 16:
        return float("nan")
    at = min(int(x * (count - 1)), count - 2)
    low, high = struct.unpack_from(">2H", tag, 12 + 2 * at)
    return float(low + (high - low) * (x * (count - 1) - at)) / 65535
