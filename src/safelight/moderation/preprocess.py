"""From a decoded picture to the square of pixels that a classifier looks at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import ModelInvalidError
from safelight.moderation.resampling import resize_part

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Resize = Literal["squash", "short_side"]

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
_LONGEST = 16
"""Of pictures that resizing would make longer than this many crops, only what is kept is computed: the same bits."""


@dataclass(frozen=True)
class Preprocessing:
    """How a classifier was shown pictures when it was trained; resizing is Pillow's, with antialiasing.

    Args:
        resize: "squash" makes the whole picture a square, whatever its aspect; "short_side" keeps the aspect and
            gives the shorter side the size.
        resized: Side of the square, or length of the shorter side, in pixels.
        crop: Side of the central square that is kept, in pixels, at most ``resized``.
        interpolation: Pillow's name of the resampling filter.
        jpeg_round_trip: Compress and decompress after cropping, as open-nsfw's training data was. It costs most of
            a millisecond, and leaving it out moved harmless scores by up to 0.016.
    """

    resize: Resize
    resized: int
    crop: int
    interpolation: Interpolation
    jpeg_round_trip: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in _RESAMPLING:
            raise ModelInvalidError(
                f"Interpolation {self.interpolation!r} is not known; there are {', '.join(_RESAMPLING)}."
            )
        if not 1 <= self.crop <= self.resized:
            raise ModelInvalidError(
                f"A crop of {self.crop} pixels does not fit in a picture resized to {self.resized}."
            )

    def to_dict(self) -> dict[str, object]:
        """The fields, for a manifest."""
        return asdict(self)

    def apply(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an upright sRGB picture of mode RGB to uint8 [crop, crop, 3]."""
        picture = self._resize_and_crop(picture)
        if self.jpeg_round_trip:
            picture = _through_jpeg(picture)
        return np.asarray(picture)

    def seen(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of a picture that survives the crop: left, top, right, bottom as fractions of (width, height)."""
        width, height = self._resized_size(size)
        left, top, right, bottom = self._centre((width, height))
        return left / width, top / height, right / width, bottom / height

    def _resize_and_crop(self, picture: Image.Image) -> Image.Image:
        filter_ = _RESAMPLING[self.interpolation]
        size = self._resized_size(picture.size)
        if max(size) <= _LONGEST * self.crop:
            return picture.resize(size, filter_).crop(self._centre(size))
        # A strip of 1 x 60,000 pixels, resized as a whole, would fill the memory.
        return resize_part(picture, size, self._centre(size), filter_)

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.resize == "squash":
            return self.resized, self.resized
        width, height = size
        short = min(width, height)
        # Truncated, as torchvision's Resize does it, so that every pixel falls where timm's transforms put it.
        return max(1, int(self.resized * width / short)), max(1, int(self.resized * height / short))

    def _centre(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        left = round((size[0] - self.crop) / 2)  # half to even, as torchvision's CenterCrop does it
        top = round((size[1] - self.crop) / 2)
        return left, top, left + self.crop, top + self.crop


def _through_jpeg(picture: Image.Image) -> Image.Image:
    with BytesIO() as buffer:
        picture.save(buffer, format="JPEG")
        buffer.seek(0)
        return Image.open(buffer, formats=["JPEG"]).convert("RGB")
