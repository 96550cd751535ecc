"""The types that the picture modules share."""

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
    """What a picture may cost.

    Args:
        max_pixels: Width times height, at most.
        max_bytes: Bytes of the file, at most.
        max_frames: Frames of an animation that are looked at, at most.
        background: What transparent pixels are composited on: red, green, blue, each 0..255.
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
        image: Mode RGB, sRGB, upright; not to be changed.
        index: Which frame of the file this is, from 0.
        size: Width and height of the upright picture before any reduced-scale decoding.
        format: "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", or "array".
        notes: What was done on the way that changed pixels or left frames out.
    """

    image: Image.Image
    index: int
    size: tuple[int, int]
    format: str
    notes: tuple[str, ...] = ()

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The image as uint8 [height, width, 3], C-contiguous and read-only.

        Made when it is first asked for: copying twelve megapixels takes half as long as decoding them.
        """
        pixels = np.asarray(self.image)
        pixels.flags.writeable = False
        return pixels


@dataclass(frozen=True)
class Header:
    """What a picture says of itself.

    Args:
        format: As in `Frame`.
        width: Columns as stored, before the EXIF orientation is applied.
        height: Rows as stored.
        frame_count: Frames or pages, at least 1.
    """

    format: str
    width: int
    height: int
    frame_count: int | None = 1


@dataclass(frozen=True)
class Layout:
    """What a file's structure says, read without decoding pixels.

    Args:
        header: Format, size and number of frames.
        bits: Bits of one sample.
        offsets: Where the pages of a TIFF begin.
        coded: Pixels that the decoder works on, where a crop may make the picture smaller than that.
        image: The picture, where its decoder had to be opened to know the size.
        pixel_bytes: Bytes that a pixel has as it is decoded, in all the pictures that it is decoded to.
        converted: Whether another picture is made of the decoded one: it is not upright, not sRGB or not opaque.
        buffers: Bytes that the decoder holds besides, at most.
        others: Later pages of a TIFF that will be looked at.
    """

    header: Header
    bits: int = 8
    offsets: tuple[int, ...] = ()
    coded: int = 0
    image: Image.Image | None = None
    pixel_bytes: int = 4
    converted: bool = True
    buffers: int = 0
    others: tuple[Layout, ...] = ()


def check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """Refuse what has no pixels or too many.

    Raises:
        ImageZeroSizeError: Width or height is 0.
        ImageTooManyPixelsError: More pixels than the limit.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageZeroSizeError(f"The picture is {width} x {height}: it has no pixels.")
    if width * height > limits.max_pixels:
        raise ImageTooManyPixelsError(
            f"The picture is {width} x {height}, {width * height} pixels; the limit is {limits.max_pixels}."
        )
