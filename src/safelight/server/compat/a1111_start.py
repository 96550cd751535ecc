"""Convert the images of an img2img request to the initial image and mask that Safelight takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from safelight.errors import FieldError
from safelight.generation.request import UNMARKED
from safelight.images import DecodeLimits, decode
from safelight.images.alpha import alpha_of
from safelight.server.compat.resizing import CROP, PAD, STRETCH, Size, fast_png, resize
from safelight.server.picture_cost import reading, reading_alpha, writing
from safelight.server.picture_threads import Cost


@dataclass(frozen=True)
class Start:
    """The images for img2img.

    Args:
        init: The initial image, a file.
        mask: Its mask, a file; None for none.
    """

    init: bytes
    mask: bytes | None = None


def start(
    init: bytes,
    mask: bytes | None,
    limits: DecodeLimits,
    *,
    mode: int = STRETCH,
    size: Size | None = None,
    whole: bool = True,
    hard: bool = True,
) -> Start:
    """Resize the images and convert the mask, as A1111 does.

    Args:
        init: The initial image, a file.
        mask: Its mask, a file.
        limits: Limits for decoding.
        mode: How to resize: 0 stretches, 1 crops, 2 pads.
        size: Width and height to generate, in pixels; None keeps the image's own.
        whole: Whether to resize the whole image; False where only the masked part is generated.
        hard: Whether to threshold the mask's opacity; a mask without transparent parts keeps its grey levels.

    Raises:
        ImageError: An image cannot be read.
        FieldError: The mode upscales latents.
    """
    if mode not in (STRETCH, CROP, PAD):
        raise FieldError(
            "resize_mode: upscaling latents is not supported.", field="resize_mode", hint="Give 0, 1 or 2."
        )
    target = size if whole else None
    cover = None if mask is None else _cover(mask, limits, target, mode, hard=hard)
    if target is not None:
        picture = decode(init, limits=limits).image
        init = init if picture.size == target else fast_png(resize(picture, target, mode))
    return Start(init, cover)


def start_cost(
    init: bytes, mask: bytes | None, limits: DecodeLimits, *, size: Size | None = None, whole: bool = True
) -> Cost:
    """The cost of ``start`` with the same arguments; the images are decoded one after the other.

    Raises:
        ImageError: A file is no image, or exceeds the limits.
    """
    target = size if whole else None
    cost = Cost() if mask is None else reading_alpha(mask, limits)
    if target is not None:
        cost = cost.then(reading(init, limits)) + writing(target, "png")
    return cost


def _cover(data: bytes, limits: DecodeLimits, size: Size | None, mode: int, *, hard: bool) -> bytes:
    """Convert a mask file, and resize it where a size is given."""
    cover = _mask(data, limits, hard=hard)
    return fast_png(cover if size is None else resize(cover, size, mode))


def _mask(data: bytes, limits: DecodeLimits, *, hard: bool) -> Image.Image:
    """Decode a mask, mode L: its opacity where a part of it is transparent, otherwise its brightness, as A1111 does."""
    alpha = alpha_of(data, limits)
    if alpha is None:
        return decode(data, limits=replace(limits, background=UNMARKED)).image.convert("L")
    return alpha.point(lambda value: 255 if value > 128 else 0) if hard else alpha
