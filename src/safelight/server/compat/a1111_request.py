"""From the bodies of txt2img and img2img to the fields of our own request."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from safelight.errors import FieldError
from safelight.generation.request import GenerationRequest
from safelight.generation.upscaling.finding import UpscalerInfo
from safelight.server.compat import a1111_samplers as samplers
from safelight.server.compat.a1111_fields import Drawing, PictureDrawing, TextDrawing
from safelight.server.compat.a1111_options import Choices
from safelight.server.compat.a1111_refusals import check_extras, check_scripts
from safelight.server.compat.a1111_start import Size
from safelight.server.compat.a1111_upscalers import for_hires
from safelight.server.compat.checkpoints import Chosen

HIRES_STRENGTH = 0.75
"""Denoising strength of a second pass where none is given, as in A1111."""
FILLS = ("blur", "original", "noise")
"""What A1111's numbers for the masked part's content mean."""

Fields = dict[str, Any]


def check(drawing: Drawing) -> None:
    """See that nothing is asked for that is not done here.

    Raises:
        FieldError: Something is.
    """
    check_extras(drawing.model_extra or {})
    check_scripts(drawing.alwayson_scripts)
    if isinstance(drawing, TextDrawing):
        for name in ("prompt", "negative_prompt"):
            if getattr(drawing, f"hr_{name}") not in ("", getattr(drawing, name)):
                raise FieldError(
                    f"hr_{name}: both passes have one prompt.", field=f"hr_{name}", hint="Leave it empty."
                )


def text_fields(
    drawing: TextDrawing, choices: Choices, chosen: Chosen, upscalers: Sequence[UpscalerInfo]
) -> Fields:
    """The fields of our request for txt2img.

    Args:
        drawing: What was sent, checked.
        choices: The caller's options, and those of this request.
        chosen: The checkpoint.
        upscalers: Those there are.

    Raises:
        SafelightError: Something of it is unknown here.
    """
    fields = _common(drawing, choices, chosen)
    return fields | ({"hires": _hires(drawing, chosen, upscalers)} if drawing.enable_hr else {})


def picture_fields(drawing: PictureDrawing, choices: Choices, chosen: Chosen) -> Fields:
    """The fields of our request for img2img, without the pictures themselves; see ``text_fields``."""
    fields = _common(drawing, choices, chosen) | {"strength": drawing.denoising_strength}
    return fields | ({"inpaint": _inpaint(drawing)} if drawing.mask is not None else {})


def size_of(drawing: Drawing) -> Size | None:
    """Width and height that are asked for.

    Raises:
        FieldError: One is there without the other.
    """
    if drawing.width is None and drawing.height is None:
        return None
    if drawing.width is None or drawing.height is None:
        missing = "width" if drawing.width is None else "height"
        raise FieldError(f"{missing}: width and height go together.", field=missing)
    return drawing.width, drawing.height


def _common(drawing: Drawing, choices: Choices, chosen: Chosen) -> Fields:
    sigma = drawing.schedulers_sigma
    scheduler = sigma or drawing.scheduler or choices.schedule
    sampler, schedule = samplers.chosen(
        drawing.sampler_name or drawing.sampler_index, scheduler, chosen.kind, usual=sigma is None
    )
    width, height = size_of(drawing) or (None, None)
    fields: Fields = {
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "styles": tuple(drawing.styles or ()),
        "checkpoint": chosen.name,
        "seed": _seed(drawing.seed),
        "count": drawing.count,
        "width": width,
        "height": height,
        "steps": drawing.steps,
        "sampler": sampler,
        "schedule": schedule,
        "eta": samplers.eta_for(sampler, drawing.eta),
        "guidance_scale": drawing.cfg_scale,
        "guidance_end": drawing.cfg_end,
        "guidance_rescale": drawing.diffusers_guidance_rescale,
        "pag_scale": drawing.pag_scale,
        "clip_skip": drawing.clip_skip or choices.clip_skip,
    }
    if drawing.subseed_strength > 0:
        seed = _seed(drawing.subseed)
        strength = drawing.subseed_strength
        fields["variation"] = {
            "seed": secrets.randbelow(2**32) if seed is None else seed,
            "strength": strength,
        }
    return _without_defaults(fields)


def _without_defaults(fields: Fields) -> Fields:
    """Only what says more than its absence would: jobs keep, and show, what was asked."""
    model = GenerationRequest.model_fields
    return {name: value for name, value in fields.items() if value != model[name].get_default()}


def _seed(seed: int | None) -> int | None:
    return None if seed is None or seed < 0 else seed


def _hires(drawing: TextDrawing, chosen: Chosen, upscalers: Sequence[UpscalerInfo]) -> Fields:
    sampler, schedule = samplers.chosen(drawing.hr_sampler_name, drawing.hr_scheduler, chosen.kind)
    if schedule and not sampler:
        raise FieldError(
            "hr_scheduler: a second pass takes it with hr_sampler_name.",
            field="hr_scheduler",
            hint="Give both or neither.",
        )
    strength = drawing.denoising_strength
    return {
        "scale": _scale(drawing),
        "upscaler": for_hires(drawing.hr_upscaler, upscalers),
        "strength": HIRES_STRENGTH if strength is None else strength,
        "steps": drawing.hr_second_pass_steps or None,
        "sampler": samplers.joined(sampler, schedule),
    }


def _scale(drawing: TextDrawing) -> float:
    """The factor of a second pass: A1111 takes it as such or as a size, of which one side may be 0."""
    across, down = drawing.hr_resize_x, drawing.hr_resize_y
    if not across and not down:
        return drawing.hr_scale
    size = size_of(drawing)
    if size is None:
        raise FieldError(
            "hr_resize_x and hr_resize_y need width and height.",
            field="hr_resize_x",
            hint="Or give hr_scale.",
        )
    factors = [target / side for target, side in zip((across, down), size, strict=True) if target]
    if abs(factors[0] - factors[-1]) * max(size) >= 1:
        raise FieldError(
            f"hr_resize_x and hr_resize_y: {across} x {down} has not the proportions of {size[0]} x {size[1]}.",
            field="hr_resize_x",
            hint="Give one of them and 0 for the other.",
        )
    return factors[0]


def _inpaint(drawing: PictureDrawing) -> Fields:
    if drawing.inpainting_fill >= len(FILLS):
        raise FieldError(
            "inpainting_fill: 3, latent nothing, is not there.",
            field="inpainting_fill",
            hint="Give 0 for fill, 1 for original or 2 for noise.",
        )
    return {
        "blur": _blur(drawing),
        "padding": drawing.inpaint_full_res_padding,
        "only_masked": drawing.inpaint_full_res,
        "fill": FILLS[drawing.inpainting_fill],
        "invert": bool(drawing.inpainting_mask_invert),
    }


def _blur(drawing: PictureDrawing) -> int:
    across, down = drawing.mask_blur_x, drawing.mask_blur_y
    if drawing.mask_blur is not None or (across is None and down is None):
        return 4 if drawing.mask_blur is None else drawing.mask_blur
    given = {4 if blur is None else blur for blur in (across, down)}
    if len(given) > 1:
        raise FieldError(
            "mask_blur_x: a mask is blurred alike in both directions.",
            field="mask_blur_x",
            hint="Give mask_blur.",
        )
    return given.pop()
