"""Preprocess a decoded image into the square input of a classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import ModelInvalidError
from safelight.moderation.classifiers.resampling import resize_part

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Resize = Literal["squash", "short_side"]

_RESAMPLING_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_MAX_CROPS = 16
"""If resizing would make an image longer than this many crops, only the kept part is computed, with equal results."""

_FRACTION = 256
_MAX_EXACT_SIDE = 1 << 16
"""Multiples of 1/256 below this are exact in the 24 bits of a float's significand."""
_TALL = 100
"""From this ratio of height to width on, Pillow resizes the height first."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing a classifier was trained with; resizing is Pillow's, with antialiasing.

    Args:
        resize: "squash" resizes the whole image to a square, ignoring its aspect ratio; "short_side" keeps the aspect
            ratio and resizes the shorter side.
        resized: Side of the square, or length of the shorter side, in pixels.
        crop: Side of the central square that is kept, in pixels, at most ``resized``.
        interpolation: Pillow's name of the resampling filter.
        jpeg_round_trip: Compress and decompress as JPEG after cropping, as open-nsfw's training data was. It takes
            most of a millisecond, and without it harmless scores changed by up to 0.016.
    """

    resize: Resize
    resized: int
    crop: int
    interpolation: Interpolation
    jpeg_round_trip: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in _RESAMPLING_FILTERS:
            raise ModelInvalidError(
                f"Interpolation {self.interpolation!r} is not known; there are {', '.join(_RESAMPLING_FILTERS)}."
            )
        if not 1 <= self.crop <= self.resized:
            raise ModelInvalidError(
                f"A crop of {self.crop} pixels does not fit in a picture resized to {self.resized}."
            )

    def to_dict(self) -> dict[str, object]:
        """Return the fields for a manifest."""
        return asdict(self)

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an upright sRGB image of mode RGB to uint8 [crop, crop, 3]."""
        image = self._resize_and_crop(image)
        if self.jpeg_round_trip:
            image = _jpeg_round_trip(image)
        return np.asarray(image)

    def visible_box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the part of an image within the crop: left, top, right, bottom as fractions of (width, height)."""
        width, height = self._resized_size(size)
        left, top, right, bottom = self._crop_box((width, height))
        return left / width, top / height, right / width, bottom / height

    def _resize_and_crop(self, image: Image.Image) -> Image.Image:
        filter_ = _RESAMPLING_FILTERS[self.interpolation]
        size = self._resized_size(image.size)
        part = self._crop_box(size)
        if box := _exact_source_box(image.size, size, part):
            return image.resize((self.crop, self.crop), filter_, box)
        if max(size) <= _MAX_CROPS * self.crop:
            return image.resize(size, filter_).crop(part)
        # A strip of 1 x 60,000 pixels, resized as a whole, would exhaust the memory.
        return resize_part(image, size, part, filter_)

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.resize == "squash":
            return self.resized, self.resized
        width, height = size
        short = min(width, height)
        # Truncated, as in torchvision's Resize, so that every pixel is where timm's transforms put it.
        return max(1, int(self.resized * width / short)), max(1, int(self.resized * height / short))

    def _crop_box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        left = round((size[0] - self.crop) / 2)  # half to even, as in torchvision's CenterCrop
        top = round((size[1] - self.crop) / 2)
        return left, top, left + self.crop, top + self.crop


def _exact_source_box(
    source: tuple[int, int], resized: tuple[int, int], part: tuple[int, int, int, int]
) -> tuple[float, float, float, float] | None:
    """The box of the source that Pillow resizes to a part of the result, with the pixels of the whole result's part.

    None where the pixels could differ: Pillow keeps a box's corners in 32 bits, so the steps from pixel to pixel have
    to be exact in few bits; and it resizes very tall images in another order.
    """
    steps = tuple(old / new for old, new in zip(source, resized, strict=True))
    exact = all((step * _FRACTION).is_integer() for step in steps)
    if not exact or max(source) >= _MAX_EXACT_SIDE or source[1] > _TALL * source[0]:
        return None
    left, top, right, bottom = part
    return left * steps[0], top * steps[1], right * steps[0], bottom * steps[1]


def _jpeg_round_trip(image: Image.Image) -> Image.Image:
    with BytesIO() as buffer:
        image.save(buffer, format="JPEG")
        buffer.seek(0)
        return Image.open(buffer, formats=["JPEG"]).convert("RGB")
