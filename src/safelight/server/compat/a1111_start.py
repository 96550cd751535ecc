"""What A1111's clients send to draw from, made into what Safelight draws from."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from safelight.errors import FieldError
from safelight.generation.request import UNMARKED
from safelight.images import DecodeLimits, decode
from safelight.images.alpha import alpha_of
from safelight.server.picture_cost import reading, reading_alpha, writing
from safelight.server.picture_threads import Cost

Size = tuple[int, int]
STRETCH, CROP, FILL = range(3)


@dataclass(frozen=True)
class Start:
    """What img2img starts from.

    Args:
        init: The initial picture, a file.
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
    """Bring the pictures into the shape that A1111 would.

    Args:
        init: The initial picture, a file.
        mask: Its mask, a file.
        limits: What decoding may cost.
        mode: How another size is reached: 0 stretches, 1 crops, 2 fills.
        size: Width and height to be drawn; None leaves the picture's own.
        whole: Whether all of the picture is brought to that size; not where the masked part is drawn alone.
        hard: Whether a mask's opacity becomes all or nothing; one without transparent parts keeps its greys.

    Raises:
        ImageError: A picture cannot be read.
        FieldError: The mode enlarges latents.
    """
    if mode not in (STRETCH, CROP, FILL):
        raise FieldError(
            "resize_mode: latents are not enlarged.", field="resize_mode", hint="Give 0, 1 or 2."
        )
    target = size if whole else None
    cover = None if mask is None else _cover(mask, limits, target, mode, hard=hard)
    if target is not None:
        picture = decode(init, limits=limits).image
        init = init if picture.size == target else png_of(resized(picture, target, mode))
    return Start(init, cover)


def start_cost(
    init: bytes, mask: bytes | None, limits: DecodeLimits, *, size: Size | None = None, whole: bool = True
) -> Cost:
    """What ``start`` takes, with the same arguments; one picture is decoded after the other.

    Raises:
        ImageError: One of them is no picture, or beyond the limits.
    """
    target = size if whole else None
    cost = Cost() if mask is None else reading_alpha(mask, limits)
    if target is not None:
        cost = cost.then(reading(init, limits)) + writing(target, "png")
    return cost


def _cover(data: bytes, limits: DecodeLimits, size: Size | None, mode: int, *, hard: bool) -> bytes:
    """A mask's file for us, in another size where one is given."""
    cover = _mask(data, limits, hard=hard)
    return png_of(cover if size is None else resized(cover, size, mode))


def resized(image: Image.Image, size: Size, mode: int) -> Image.Image:
    """A picture in another size: stretched, cropped, or whole with its edges drawn out."""
    if image.size == size:
        return image
    if mode == CROP:
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if mode == STRETCH:
        return image.resize(size, Image.Resampling.LANCZOS)
    scale = min(whole / side for whole, side in zip(size, image.size, strict=True))
    fitting = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    inner = image.resize(fitting, Image.Resampling.LANCZOS)
    missing = [(whole - part, (whole - part) // 2) for whole, part in zip(size, inner.size, strict=True)]
    (across, left), (down, top) = missing
    edges = [(top, down - top), (left, across - left)] + ([(0, 0)] if inner.mode == "RGB" else [])
    return Image.fromarray(np.pad(np.asarray(inner), edges, mode="edge"))


def png_of(image: Image.Image) -> bytes:
    """A picture as PNG, made quickly rather than small."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _mask(data: bytes, limits: DecodeLimits, *, hard: bool) -> Image.Image:
    """A mask, mode L: what is opaque where some of it is transparent, otherwise what is light, as A1111 reads it."""
    alpha = alpha_of(data, limits)
    if alpha is None:
        return decode(data, limits=replace(limits, background=UNMARKED)).image.convert("L")
    return alpha.point(lambda value: 255 if value > 128 else 0) if hard else alpha
