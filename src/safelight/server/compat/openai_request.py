"""From the bodies of OpenAI's routes to the fields of our own request."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import ImageOps

from safelight.errors import FieldError, MaskError
from safelight.generation.infotext import parse
from safelight.images import DecodeLimits
from safelight.images.metadata import read_metadata
from safelight.server.compat.alpha import alpha_of
from safelight.server.compat.checkpoints import Chosen
from safelight.server.compat.openai_fields import Common, Drawing, EditForm

Fields = dict[str, Any]
STEPS: Mapping[str, float] = MappingProxyType(
    {"low": 0.5, "medium": 1.0, "high": 1.5, "xhigh": 2.0, "max": 3.0}
)
"""Steps by quality, as multiples of those that the checkpoint's family is drawn with."""
SAME: Mapping[str, str] = MappingProxyType({"auto": "medium", "standard": "medium", "hd": "high"})
"""Older names of qualities, and the one that leaves it to us."""
FIDELITY: Mapping[str | None, float] = MappingProxyType({None: 0.75, "low": 0.75, "high": 0.5})
"""Denoising strength of an edit without a mask."""
VARIATION = 0.6
"""Denoising strength of a variation."""


def check(form: Drawing) -> None:
    """See that fields fit each other and what is done here.

    Raises:
        FieldError: They do not.
    """
    if form.background == "transparent":
        raise FieldError(
            "background: pictures have no transparent parts.", field="background", hint="Give opaque."
        )
    if form.output_compression is not None and form.kind == "png":
        raise FieldError(
            "output_compression: png keeps every pixel.",
            field="output_compression",
            hint="Give webp or jpeg.",
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
    """Checkpoint, number and size."""
    width, height = form.sides or (None, None)
    return _given({"checkpoint": chosen.name, "count": form.count, "width": width, "height": height})


def drawing_fields(form: Drawing, chosen: Chosen) -> Fields:
    """The fields of our request.

    Args:
        form: What was sent, checked.
        chosen: The checkpoint.

    Raises:
        FieldError: A quality is asked for of a checkpoint whose usual steps are not known here.
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
    """The fields of our request for an edit.

    Args:
        form: What was sent, checked.
        chosen: The checkpoint.
        image: The picture's file.
        mask: Its mask's file; the picture's own transparent parts count where there is none.
        limits: What pictures may cost.

    Raises:
        MaskError: The mask has no transparent parts.
        ImageError: A picture cannot be read.
    """
    cover = mask_of(image if mask is None else mask, limits)
    if mask is not None and cover is None:
        raise MaskError("The mask has no transparent parts.", hint="They are what is drawn anew.")
    fields = drawing_fields(form, chosen) | {"init_image": image}
    if cover is not None:
        fields["mask"] = cover
    strength = FIDELITY[form.input_fidelity] if cover is None else None
    return fields | _given({"strength": strength if form.strength is None else form.strength})


def variation_fields(form: Common, chosen: Chosen, image: bytes, limits: DecodeLimits) -> Fields:
    """The fields of our request for variations: the picture's own words, where it carries any."""
    told = parse(read_metadata(image, limits=limits).parameters or "")
    words = {"prompt": told.prompt, "negative_prompt": told.negative_prompt}
    return common_fields(form, chosen) | words | {"init_image": image, "strength": VARIATION}


def mask_of(data: bytes, limits: DecodeLimits) -> bytes | None:
    """A mask of ours, white where a picture is transparent, as PNG; None where it is opaque everywhere.

    Raises:
        ImageError: The picture cannot be read.
    """
    alpha = alpha_of(data, limits)
    if alpha is None:
        return None
    out = io.BytesIO()
    ImageOps.invert(alpha).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _steps(form: Drawing, chosen: Chosen) -> int | None:
    share = STEPS[quality_of(form)]
    if share == 1:
        return None
    if chosen.family is None:
        raise FieldError(
            "quality: how many steps this checkpoint usually takes is not known here.",
            field="quality",
            hint="Give auto, or steps.",
        )
    return max(chosen.family.min_steps, round(chosen.family.steps * share))


def _given(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}
