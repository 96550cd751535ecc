"""What A1111's clients send to draw from, made into what Safelight draws from."""

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
    if mode not in (STRETCH, CROP, PAD):
        raise FieldError(
            "resize_mode: latents are not enlarged.", field="resize_mode", hint="Give 0, 1 or 2."
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
    return fast_png(cover if size is None else resize(cover, size, mode))


def _mask(data: bytes, limits: DecodeLimits, *, hard: bool) -> Image.Image:
    """A mask, mode L: what is opaque where some of it is transparent, otherwise what is light, as A1111 reads it."""
    alpha = alpha_of(data, limits)
    if alpha is None:
        return decode(data, limits=replace(limits, background=UNMARKED)).image.convert("L")
    return alpha.point(lambda value: 255 if value > 128 else 0) if hard else alpha
