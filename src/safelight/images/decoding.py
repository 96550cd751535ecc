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
from safelight.images.arrays import array_to_8bit
from safelight.images.child_process.file_decoder import needs_child_process, run_in_child_process
from safelight.images.conversion import convert_to_rgb
from safelight.images.decoder_errors import translate_decoder_errors
from safelight.images.formats import bmp, gif, isobmff, jpeg, png, tiff, webp
from safelight.images.frame_sampling import sample_frames
from safelight.images.metadata.exif_orientation import read_orientation
from safelight.images.reader import read_bytes
from safelight.images.sixteen_bit import narrow_to_8bit
from safelight.images.sniff import detect_format
from safelight.images.types import DecodeLimits, FileLayout, Frame, ImageHeader, ImageSource, check_size

_DEFAULT = DecodeLimits()
_PADDING = 1 << 16  # pixels; video encoders round sizes up to whole blocks
_INSPECTORS: MappingProxyType[str, Callable[[bytes], FileLayout]] = MappingProxyType(
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
_OPENERS: MappingProxyType[str, Callable[[bytes, FileLayout], Image.Image]] = MappingProxyType(
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
    check_shrink_to(shrink_to)
    if isinstance(source, np.ndarray):
        return _decode_array(source, limits)
    if isinstance(source, Image.Image):
        return _decode_pil_image(source, limits)
    data = read_bytes(source, limits.max_bytes)
    layout = inspect_file(data, limits)
    if needs_child_process(layout, limits, shrink_to):
        (frame,) = run_in_child_process("decode", data, limits, shrink_to)
        return frame
    return decode_in_process(data, layout, limits, shrink_to)


def decode_in_process(data: bytes, layout: FileLayout, limits: DecodeLimits, shrink_to: int | None) -> Frame:
    """Like `decode` for a file that was inspected; always decodes in this process."""
    return decode_current_frame(open_file(data, layout, limits), 0, limits, shrink_to)


def read_header(source: ImageSource, *, limits: DecodeLimits = _DEFAULT) -> ImageHeader:
    """Read format, size and number of frames, without decoding pixels.

    Raises:
        ImageError: As for `decode`, as far as the header shows.
        FileMissingError: The path cannot be read.
    """
    if isinstance(source, np.ndarray):
        if source.ndim < 2:
            raise ImageArrayError(f"The array has the shape {source.shape}.")
        found = ImageHeader("array", source.shape[1], source.shape[0])
    elif isinstance(source, Image.Image):
        found = ImageHeader(source.format or "array", *source.size)
    else:
        return inspect_file(read_bytes(source, limits.max_bytes), limits).header
    check_size((found.width, found.height), limits)
    return found


def check_shrink_to(shrink_to: int | None) -> None:
    """Refuse a ``shrink_to`` below 1."""
    if shrink_to is not None and shrink_to < 1:
        raise UsageError(f"shrink_to is {shrink_to}; it has to be at least 1.")


def inspect_file(data: bytes, limits: DecodeLimits) -> FileLayout:
    """Read a file's structure and check its size against the limits."""
    name = detect_format(data)
    with translate_decoder_errors(name):
        layout = _INSPECTORS[name](data)
    check_size((layout.header.width, layout.header.height), _pillow_limits(layout, limits))
    if layout.coded_pixels > 2 * limits.max_pixels + _PADDING:
        raise ImageTooManyPixelsError(f"The picture is a crop of {layout.coded_pixels} pixels.")
    if len(layout.page_offsets) > 1:
        return tiff.add_pages(data, layout, sample_frames(layout, limits.max_frames)[0][1:])
    return layout


def open_file(data: bytes, layout: FileLayout, limits: DecodeLimits) -> Image.Image:
    """Open the first frame of a file and check its size; pixels are not decoded."""
    name = layout.header.format
    with translate_decoder_errors(name):
        image = layout.image or _OPENERS[name](data, layout)
    check_size(image.size, limits)
    return image


def decode_current_frame(
    image: Image.Image,
    index: int,
    limits: DecodeLimits,
    shrink_to: int | None,
    previous_notes: tuple[str, ...] = (),
) -> Frame:
    """Decode the current frame of an image that we opened; ``previous_notes`` are notes that precede its own."""
    notes, name, full = list(previous_notes), image.format or "", image.size
    with translate_decoder_errors(name):
        scale = jpeg.set_decoder_scale(image, shrink_to) if shrink_to else 1
        if scale > 1:
            notes.append(f"decoded at 1/{scale} scale")
        rgb, turned = _load_rgb(narrow_to_8bit(image), limits, notes)
        full = full if scale > 1 else image.size
    return Frame(rgb, index, full[::-1] if turned else full, name, tuple(notes))


def _load_rgb(image: Image.Image, limits: DecodeLimits, notes: list[str]) -> tuple[Image.Image, bool]:
    """The picture upright in sRGB, and whether width and height were swapped."""
    image.load()
    rgb = convert_to_rgb(image, limits.background, notes)
    return rgb, read_orientation(image.info) >= 5


def _decode_pil_image(image: Image.Image, limits: DecodeLimits) -> Frame:
    """Decode the current frame of a caller's PIL image; the image is loaded, but not changed and not kept."""
    check_size(image.size, limits)
    notes: list[str] = []
    with translate_decoder_errors(image.format or "PIL"):
        rgb, _ = _load_rgb(image, limits, notes)
    return Frame(rgb.copy() if rgb is image else rgb, 0, rgb.size, image.format or "array", tuple(notes))


def _decode_array(array: NDArray[Any], limits: DecodeLimits) -> Frame:
    notes: list[str] = []
    samples = array_to_8bit(array, limits, notes)
    channels = samples.shape[2]
    image = Image.fromarray(samples[:, :, 0] if channels == 1 else samples)
    rgb = image if image.mode == "RGB" else convert_to_rgb(image, limits.background, notes)
    rgb = rgb if rgb.mode == "RGB" else rgb.convert("RGB")
    return Frame(rgb, 0, rgb.size, "array", tuple(notes))


def _pillow_limits(layout: FileLayout, limits: DecodeLimits) -> DecodeLimits:
    """The limits, reduced to Pillow's own limit on pixels for frames of GIF and APNG, near which Pillow warns."""
    many = (layout.header.frame_count or 1) > 1
    animated = layout.header.format == "GIF" or (layout.header.format == "PNG" and many)
    if not animated or Image.MAX_IMAGE_PIXELS is None:
        return limits
    return replace(limits, max_pixels=min(limits.max_pixels, Image.MAX_IMAGE_PIXELS))
