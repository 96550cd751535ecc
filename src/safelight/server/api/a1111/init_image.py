"""Convert the images of an img2img request to the initial image and mask that Safelight takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from safelight.errors import UnsupportedFieldError
from safelight.generation.request import MASK_BACKGROUND
from safelight.images import DecodeLimits, decode
from safelight.images.alpha import decode_alpha
from safelight.server.api.image_resizing import CROP, PAD, STRETCH, Size, fast_png, resize
from safelight.server.core.executors.image_cost import decode_alpha_cost, decode_cost, encode_cost
from safelight.server.core.executors.image_executor import ImageCost


@dataclass(frozen=True)
class PreparedImages:
    """The images for img2img.

    Args:
        init: The initial image, a file.
        mask: Its mask, a file; None for none.
    """

    init: bytes
    mask: bytes | None = None


def prepare_images(
    init: bytes,
    mask: bytes | None,
    limits: DecodeLimits,
    *,
    mode: int = STRETCH,
    size: Size | None = None,
    resize_init: bool = True,
    binary_mask: bool = True,
) -> PreparedImages:
    """Resize the images and convert the mask, as A1111 does.

    Args:
        init: The initial image, a file.
        mask: Its mask, a file.
        limits: Limits for decoding.
        mode: How to resize: 0 stretches, 1 crops, 2 pads.
        size: Width and height to generate, in pixels; None keeps the image's own.
        resize_init: Whether to resize the whole image; False where only the masked part is generated.
        binary_mask: Whether to threshold the mask's opacity; a mask without transparent parts keeps its grey levels.

    Raises:
        ImageError: An image cannot be read.
        UnsupportedFieldError: The mode upscales latents.
    """
    if mode not in (STRETCH, CROP, PAD):
        raise UnsupportedFieldError(
            "resize_mode: upscaling latents is not supported.", field="resize_mode", hint="Give 0, 1 or 2."
        )
    target = size if resize_init else None
    cover = None if mask is None else _prepare_mask(mask, limits, target, mode, binary=binary_mask)
    if target is not None:
        picture = decode(init, limits=limits).image
        init = init if picture.size == target else fast_png(resize(picture, target, mode))
    return PreparedImages(init, cover)


def prepare_cost(
    init: bytes,
    mask: bytes | None,
    limits: DecodeLimits,
    *,
    size: Size | None = None,
    resize_init: bool = True,
) -> ImageCost:
    """The cost of ``prepare_images`` with the same arguments; the images are decoded one after the other.

    Raises:
        ImageError: A file is no image, or exceeds the limits.
    """
    target = size if resize_init else None
    cost = ImageCost() if mask is None else decode_alpha_cost(mask, limits)
    if target is not None:
        cost = cost.then(decode_cost(init, limits)) + encode_cost(target, "png")
    return cost


def _prepare_mask(data: bytes, limits: DecodeLimits, size: Size | None, mode: int, *, binary: bool) -> bytes:
    """Convert a mask file, and resize it where a size is given."""
    cover = _read_mask(data, limits, binary=binary)
    return fast_png(cover if size is None else resize(cover, size, mode))


def _read_mask(data: bytes, limits: DecodeLimits, *, binary: bool) -> Image.Image:
    """Decode a mask, mode L: its opacity where a part of it is transparent, otherwise its brightness, as A1111 does."""
    alpha = decode_alpha(data, limits)
    if alpha is None:
        return decode(data, limits=replace(limits, background=MASK_BACKGROUND)).image.convert("L")
    return alpha.point(lambda value: 255 if value > 128 else 0) if binary else alpha
