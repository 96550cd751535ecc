"""Translate the bodies of OpenAI's image routes to the fields of our own request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageOps

from safelight.errors import FieldError, MaskError
from safelight.generation.infotext import parse
from safelight.images import DecodeLimits, decode
from safelight.images.alpha import alpha_of
from safelight.images.metadata import read_metadata
from safelight.server.compat.checkpoints import Chosen
from safelight.server.compat.openai_fields import Common, Drawing, EditForm
from safelight.server.compat.resizing import CROP, Size, fast_png, resize
from safelight.server.picture_cost import reading, reading_alpha
from safelight.server.picture_threads import Cost

Fields = dict[str, Any]
STEPS: Mapping[str, float] = MappingProxyType(
    {"low": 0.5, "medium": 1.0, "high": 1.5, "xhigh": 2.0, "max": 3.0}
)
"""Steps by quality, as multiples of the default steps of the checkpoint's family."""
SAME: Mapping[str, str] = MappingProxyType({"auto": "medium", "standard": "medium", "hd": "high"})
"""Older names of qualities, and auto."""
FIDELITY: Mapping[str | None, float] = MappingProxyType({None: 0.75, "low": 0.75, "high": 0.5})
"""Denoising strength of an edit without a mask."""
VARIATION = 0.6
"""Denoising strength of a variation."""
MEGAPIXEL = 1024 * 1024
"""Up to this number of pixels, an image keeps its own size where no size is requested."""
UNKNOWN_UNIT = 64
"""Sides are multiples of this where the checkpoint's family is unknown: every family accepts it."""


def check(form: Drawing) -> None:
    """Check that the fields agree with each other and are supported.

    Raises:
        FieldError: They do not.
    """
    if form.background == "transparent":
        raise FieldError(
            "background: pictures have no transparent parts.", field="background", hint="Give opaque."
        )
    if form.output_compression not in (None, 100) and form.kind == "png":
        raise FieldError(
            "output_compression: png keeps every pixel.",
            field="output_compression",
            hint="Give webp or jpeg, or 100.",
        )
    if form.response_format == "url" and (form.kind != "png" or form.stream):
        raise FieldError(
            "response_format: an address leads to the gallery's own file, which is png and comes without stream.",
            field="response_format",
            hint="Give b64_json.",
        )
    if form.partial_images and not form.stream:
        raise FieldError(
            "partial_images: previews come with stream.", field="partial_images", hint="Set stream."
        )


def quality_of(form: Drawing) -> str:
    """The quality under its current name."""
    asked = form.quality or "auto"
    return SAME.get(asked, asked)


def common_fields(form: Common, chosen: Chosen) -> Fields:
    """Checkpoint, number of images and size."""
    width, height = form.sides or (None, None)
    fields = {"checkpoint": chosen.name, "count": form.count, "width": width, "height": height}
    return {"ignore_unsupported": True} | _given(fields)


def drawing_fields(form: Drawing, chosen: Chosen) -> Fields:
    """The fields of our request.

    Args:
        form: The body, checked.
        chosen: The checkpoint.

    Raises:
        FieldError: A quality is requested of a checkpoint whose default steps are unknown.
    """
    fields = {
        "prompt": form.prompt,
        "negative_prompt": form.negative_prompt,
        "seed": form.seed,
        "steps": form.steps or _steps(form, chosen),
        "guidance_scale": form.guidance_scale,
        "sampler": form.sampler,
        "schedule": form.schedule,
    }
    return common_fields(form, chosen) | _given(fields)


def edit_fields(
    form: EditForm, chosen: Chosen, image: bytes, mask: bytes | None, limits: DecodeLimits
) -> Fields:
    """The fields of our request for an edit. With a mask, image and mask are resized to the requested size.

    Args:
        form: The form, checked.
        chosen: The checkpoint.
        image: The image file.
        mask: Its mask's file; without one, the fully transparent parts of the image are the mask.
        limits: Limits for decoding.

    Raises:
        MaskError: The mask has no transparent parts, or another size than the image.
        ImageError: An image cannot be read.
    """
    cover = hole_of(image, limits) if mask is None else mask_of(mask, limits)
    if mask is not None and cover is None:
        raise MaskError("The mask has no transparent parts.", hint="They mark the part to repaint.")
    picture = decode(image, limits=limits).image
    if cover is not None and cover.size != picture.size:
        raise MaskError(f"The mask is {_shown(cover.size)} pixels, its picture {_shown(picture.size)}.")
    size = form.sides or within(picture.size, chosen)
    fields = drawing_fields(form, chosen) | {"init_image": image} | _sides(size)
    if cover is not None:
        fields["mask"] = fast_png(resize(cover, size or cover.size, CROP))
    if cover is not None and size is not None and size != picture.size:
        fields["init_image"] = fast_png(resize(picture, size, CROP))
    strength = FIDELITY[form.input_fidelity] if cover is None else None
    return fields | _given({"strength": strength if form.strength is None else form.strength})


def edit_cost(image: bytes, mask: bytes | None, limits: DecodeLimits) -> Cost:
    """The cost of ``edit_fields`` with the same arguments: the alpha channel is kept while the image is decoded.

    Raises:
        ImageError: A file is no image, or exceeds the limits.
    """
    cover = reading_alpha(image if mask is None else mask, limits)
    picture = reading(image, limits)
    return cover.then(picture + Cost(2 * cover.pixels + picture.memory // 2))


def variation_fields(form: Common, chosen: Chosen, image: bytes, limits: DecodeLimits) -> Fields:
    """The fields of our request for variations, with the image's own prompt where its metadata has one."""
    told = parse(read_metadata(image, limits=limits).parameters or "")
    words = {"prompt": told.prompt, "negative_prompt": told.negative_prompt}
    size = form.sides or within(decode(image, limits=limits).image.size, chosen)
    return common_fields(form, chosen) | words | {"init_image": image, "strength": VARIATION} | _sides(size)


def within(size: Size, chosen: Chosen) -> Size | None:
    """The size to generate at where none is requested; None for the image's own.

    An image with more pixels than a megapixel, and than the checkpoint's best size, keeps its proportions only.
    """
    side, unit = (chosen.family.side, chosen.family.size_multiple) if chosen.family else (0, UNKNOWN_UNIT)
    share = math.sqrt(max(side**2, MEGAPIXEL) / (size[0] * size[1]))
    if share >= 1:
        return None
    width, height = (max(unit, int(length * share) // unit * unit) for length in size)
    return width, height


def mask_of(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """Our mask, mode L, white where a mask file is transparent; None where it is opaque everywhere.

    Raises:
        ImageError: It cannot be read.
    """
    alpha = alpha_of(data, limits)
    return None if alpha is None else ImageOps.invert(alpha)


def hole_of(data: bytes, limits: DecodeLimits) -> Image.Image | None:
    """Our mask for an image without a mask file: its fully transparent pixels, without shadows and soft edges.

    Raises:
        ImageError: The image cannot be read.
    """
    alpha = alpha_of(data, limits)
    if alpha is None or alpha.getextrema()[0] != 0:
        return None
    return alpha.point(lambda value: 0 if value else 255)


def _sides(size: Size | None) -> Fields:
    return {} if size is None else {"width": size[0], "height": size[1]}


def _shown(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _steps(form: Drawing, chosen: Chosen) -> int | None:
    share = STEPS[quality_of(form)]
    if share == 1:
        return None
    if chosen.family is None:
        raise FieldError(
            "quality: the default number of steps of this checkpoint is unknown.",
            field="quality",
            hint="Give auto, or steps.",
        )
    return max(chosen.family.min_steps, round(chosen.family.steps * share))


def _given(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}
