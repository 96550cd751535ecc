"""Types that the modules of this package share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import ImageTooManyPixelsError, ImageZeroSizeError

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]


class LimitSettings(Protocol):
    """The settings that limit pictures; see ``DecodeLimits``."""

    @property
    def max_pixels(self) -> int: ...  # noqa: D102  as in DecodeLimits
    @property
    def max_bytes(self) -> int: ...  # noqa: D102
    @property
    def max_frames(self) -> int: ...  # noqa: D102
    @property
    def background(self) -> tuple[int, int, int]: ...  # noqa: D102


@dataclass(frozen=True)
class DecodeLimits:
    """Limits for decoding a picture.

    Args:
        max_pixels: Limit on width times height.
        max_bytes: Limit on the file's bytes.
        max_frames: Limit on the frames of an animation that are sampled.
        background: The colour that transparent pixels are composited on: red, green, blue, each 0..255.
    """

    max_pixels: int = 64_000_000
    max_bytes: int = 256 * 1024 * 1024
    max_frames: int = 16
    background: tuple[int, int, int] = (255, 255, 255)

    @classmethod
    def of(cls, settings: LimitSettings) -> Self:
        """The limits that are set."""
        return cls(settings.max_pixels, settings.max_bytes, settings.max_frames, settings.background)


@dataclass(frozen=True)
class Frame:
    """One decoded picture.

    Args:
        image: The pixels in mode RGB and sRGB, upright; not to be modified.
        index: Index of the frame in the file, from 0.
        size: Width and height of the upright picture before any reduced-scale decoding.
        format: "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", or "array".
        notes: The conversions that changed pixels, and the frames that were left out.
    """

    image: Image.Image
    index: int
    size: tuple[int, int]
    format: str
    notes: tuple[str, ...] = ()

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The image as uint8 [height, width, 3], C-contiguous and read-only.

        Computed on first use: copying twelve megapixels takes half as long as decoding them.
        """
        pixels = np.asarray(self.image)
        pixels.flags.writeable = False
        return pixels


@dataclass(frozen=True)
class ImageHeader:
    """Format, size and number of frames of a picture.

    Args:
        format: As in `Frame`.
        width: Width as stored, before the EXIF orientation is applied.
        height: Height as stored.
        frame_count: Number of frames or pages, at least 1.
    """

    format: str
    width: int
    height: int
    frame_count: int | None = 1


@dataclass(frozen=True)
class FileLayout:
    """The structure of a file, read without decoding pixels.

    Args:
        header: Format, size and number of frames.
        sample_bits: Bits per sample.
        page_offsets: Positions of a TIFF's pages.
        coded_pixels: Number of pixels that the decoder processes, if the picture can be a crop of them.
        image: The opened picture, if its decoder was needed to read the size.
        pixel_bytes: Bytes per pixel of the decoded picture, or of all pictures it is decoded to.
        needs_conversion: The decoded picture needs a conversion: it is not upright, not sRGB or not opaque.
        buffer_bytes: Upper bound of the bytes that the decoder holds in addition.
        other_pages: Layouts of the later pages of a TIFF that are sampled.
    """

    header: ImageHeader
    sample_bits: int = 8
    page_offsets: tuple[int, ...] = ()
    coded_pixels: int = 0
    image: Image.Image | None = None
    pixel_bytes: int = 4
    needs_conversion: bool = True
    buffer_bytes: int = 0
    other_pages: tuple[FileLayout, ...] = ()


def check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """Refuse a picture without pixels or with too many.

    Raises:
        ImageZeroSizeError: Width or height is 0.
        ImageTooManyPixelsError: There are more pixels than the limit.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageZeroSizeError(f"The picture is {width} x {height}: it has no pixels.")
    if width * height > limits.max_pixels:
        raise ImageTooManyPixelsError(
            f"The picture is {width} x {height}, {width * height} pixels; the limit is {limits.max_pixels}."
        )
