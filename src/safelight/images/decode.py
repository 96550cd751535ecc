"""Decode one picture from any source to a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import ImageArrayError, ImageTooManyPixelsError, UsageError
from safelight.images import bmp, gif, isobmff, jpeg, png, tiff, webp
from safelight.images.arrays import from_array
from safelight.images.convert import to_rgb
from safelight.images.exif import orientation_of
from safelight.images.guard import foreign
from safelight.images.isolated import frames_isolated, is_large
from safelight.images.picture import DecodeLimits, Frame, Header, ImageSource, Layout, check_size
from safelight.images.sampling import sample
from safelight.images.sniff import sniff
from safelight.images.source import read_bytes
from safelight.images.wide import narrowed

_DEFAULT = DecodeLimits()
_PADDING = 1 << 16  # pixels; video encoders round sizes up to whole blocks
_INSPECT: MappingProxyType[str, Callable[[bytes], Layout]] = MappingProxyType(
    {
        "JPEG": jpeg.inspect,
        "PNG": png.inspect,
        "GIF": gif.inspect,
        "WEBP": webp.inspect,
        "BMP": bmp.inspect,
        "TIFF": tiff.inspect,
        "AVIF": isobmff.inspect_avif,
        "HEIF": isobmff.inspect_heif,
    }
)
_OPEN: MappingProxyType[str, Callable[[bytes, Layout], Image.Image]] = MappingProxyType(
    {
        "JPEG": jpeg.open_image,
        "PNG": png.open_image,
        "GIF": gif.open_image,
        "WEBP": webp.open_image,
        "BMP": bmp.open_image,
        "TIFF": tiff.open_page,
    }
)


def decode(source: ImageSource, *, limits: DecodeLimits = _DEFAULT, shrink_to: int | None = None) -> Frame:
    """Decode a picture, or the first frame of an animation.

    Args:
        source: Path, bytes, binary file object (read from where it stands), PIL image (the frame it shows) or
            numpy array ([height, width] or [height, width, 1, 3 or 4] of uint8, uint16, bool or floats in 0..1).
        limits: Limits for decoding.
        shrink_to: Decode JPEGs at 1/2, 1/4 or 1/8 scale if both sides keep at least this many pixels.

    Returns:
        The upright picture in sRGB.

    Raises:
        ImageError: The picture cannot be decoded; the subclass states why.
        FileMissingError: The path cannot be read.
        UsageError: ``shrink_to`` is less than 1.
    """
    check_shrink(shrink_to)
    if isinstance(source, np.ndarray):
        return _array_frame(source, limits)
    if isinstance(source, Image.Image):
        return _object_frame(source, limits)
    data = read_bytes(source, limits.max_bytes)
    layout = inspect(data, limits)
    if is_large(layout, limits, shrink_to):
        (frame,) = frames_isolated("decode", data, limits, shrink_to)
        return frame
    return decode_here(data, layout, limits, shrink_to)


def decode_here(data: bytes, layout: Layout, limits: DecodeLimits, shrink_to: int | None) -> Frame:
    """Like `decode` for a file that was inspected; always decodes in this process."""
    return file_frame(open_file(data, layout, limits), 0, limits, shrink_to)


def header(source: ImageSource, *, limits: DecodeLimits = _DEFAULT) -> Header:
    """Read format, size and number of frames, without decoding pixels.

    Raises:
        ImageError: As for `decode`, as far as the header shows.
        FileMissingError: The path cannot be read.
    """
    if isinstance(source, np.ndarray):
        if source.ndim < 2:
            raise ImageArrayError(f"The array has the shape {source.shape}.")
        found = Header("array", source.shape[1], source.shape[0])
    elif isinstance(source, Image.Image):
        found = Header(source.format or "array", *source.size)
    else:
        return inspect(read_bytes(source, limits.max_bytes), limits).header
    check_size((found.width, found.height), limits)
    return found


def check_shrink(shrink_to: int | None) -> None:
    """Refuse a ``shrink_to`` below 1."""
    if shrink_to is not None and shrink_to < 1:
        raise UsageError(f"shrink_to is {shrink_to}; it has to be at least 1.")


def inspect(data: bytes, limits: DecodeLimits) -> Layout:
    """Read a file's structure and check its size against the limits."""
    name = sniff(data)
    with foreign(name):
        layout = _INSPECT[name](data)
    check_size((layout.header.width, layout.header.height), _limits_for(layout, limits))
    if layout.coded > 2 * limits.max_pixels + _PADDING:
        raise ImageTooManyPixelsError(f"The picture is a crop of {layout.coded} pixels.")
    if len(layout.offsets) > 1:
        return tiff.with_pages(data, layout, sample(layout, limits.max_frames)[0][1:])
    return layout


def open_file(data: bytes, layout: Layout, limits: DecodeLimits) -> Image.Image:
    """Open the first frame of a file and check its size; pixels are not decoded."""
    name = layout.header.format
    with foreign(name):
        image = layout.image or _OPEN[name](data, layout)
    check_size(image.size, limits)
    return image


def file_frame(
    image: Image.Image, index: int, limits: DecodeLimits, shrink_to: int | None, seen: tuple[str, ...] = ()
) -> Frame:
    """Decode the current frame of an image that we opened; ``seen`` are notes that precede its own."""
    notes, name, full = list(seen), image.format or "", image.size
    with foreign(name):
        scale = jpeg.shrink(image, shrink_to) if shrink_to else 1
        if scale > 1:
            notes.append(f"decoded at 1/{scale} scale")
        rgb, turned = _rgb(narrowed(image), limits, notes)
        full = full if scale > 1 else image.size
    return Frame(rgb, index, full[::-1] if turned else full, name, tuple(notes))


def _rgb(image: Image.Image, limits: DecodeLimits, notes: list[str]) -> tuple[Image.Image, bool]:
    """The picture upright in sRGB, and whether width and height were swapped."""
    image.load()
    rgb = to_rgb(image, limits.background, notes)
    return rgb, orientation_of(image.info) >= 5


def _object_frame(image: Image.Image, limits: DecodeLimits) -> Frame:
    """Decode the current frame of a caller's PIL image; the image is loaded, but not changed and not kept."""
    check_size(image.size, limits)
    notes: list[str] = []
    with foreign(image.format or "PIL"):
        rgb, _ = _rgb(image, limits, notes)
    return Frame(rgb.copy() if rgb is image else rgb, 0, rgb.size, image.format or "array", tuple(notes))


def _array_frame(array: NDArray[Any], limits: DecodeLimits) -> Frame:
    notes: list[str] = []
    samples = from_array(array, limits, notes)
    channels = samples.shape[2]
    image = Image.fromarray(samples[:, :, 0] if channels == 1 else samples)
    rgb = image if image.mode == "RGB" else to_rgb(image, limits.background, notes)
    rgb = rgb if rgb.mode == "RGB" else rgb.convert("RGB")
    return Frame(rgb, 0, rgb.size, "array", tuple(notes))


def _limits_for(layout: Layout, limits: DecodeLimits) -> DecodeLimits:
    """The limits, reduced to Pillow's own limit on pixels for frames of GIF and APNG, near which Pillow warns."""
    many = (layout.header.frame_count or 1) > 1
    animated = layout.header.format == "GIF" or (layout.header.format == "PNG" and many)
    if not animated or Image.MAX_IMAGE_PIXELS is None:
        return limits
    return replace(limits, max_pixels=min(limits.max_pixels, Image.MAX_IMAGE_PIXELS))
