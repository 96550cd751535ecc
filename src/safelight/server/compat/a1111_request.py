"""Translate the bodies of txt2img and img2img to the fields of our own request."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from safelight.errors import FieldError
from safelight.generation.prompts.unsupported import distinct, find_unsupported, without_unsupported
from safelight.generation.request import GenerationRequest
from safelight.generation.upscaling.finding import UpscalerInfo
from safelight.server.compat import a1111_samplers as samplers
from safelight.server.compat.a1111_fields import Drawing, PictureDrawing, TextDrawing
from safelight.server.compat.a1111_options import Choices
from safelight.server.compat.a1111_refusals import check_extras, without_effect
from safelight.server.compat.a1111_scripts import check_scripts, passed_over
from safelight.server.compat.a1111_upscalers import for_hires
from safelight.server.compat.checkpoints import Chosen
from safelight.server.compat.resizing import Size

HIRES_STRENGTH = 0.75
"""Default denoising strength of a second pass, as in A1111."""
FILLS = ("blur", "original", "noise")
"""Meaning of A1111's numbers in ``inpainting_fill``."""
DISTILLED = ("distilled_cfg_scale", "hr_distilled_cfg")
"""Forge's fields for checkpoints with embedded guidance."""

Fields = dict[str, Any]


def check(drawing: Drawing) -> None:
    """Check that a body asks for nothing that Safelight does not support.

    Raises:
        FieldError: A field asks for something unsupported.
    """
    check_extras(drawing.model_extra or {})
    check_scripts(drawing)
    if isinstance(drawing, TextDrawing):
        _check_second_pass(drawing)


def _check_second_pass(drawing: TextDrawing) -> None:
    """Check that the second pass has the first's prompts and guidance; unsupported parts of prompts may differ."""
    for name in ("prompt", "negative_prompt"):
        first, second = getattr(drawing, name), getattr(drawing, f"hr_{name}")
        if second and without_unsupported(second) != without_unsupported(first):
            raise FieldError(
                f"hr_{name}: both passes have one prompt.", field=f"hr_{name}", hint="Leave it empty."
            )
    if drawing.enable_hr and drawing.hr_cfg not in (None, drawing.cfg_scale):
        raise _other_guidance("hr_cfg")


def _other_guidance(name: str) -> FieldError:
    return FieldError(f"{name}: both passes have one guidance scale.", field=name, hint="Leave it out.")


def ignored(drawing: Drawing, chosen: Chosen) -> list[str]:
    """Names of fields without effect, since A1111 ignores them too or this checkpoint does not use them."""
    names = without_effect(drawing.model_extra or {}) + passed_over(drawing)
    if drawing.clip_skip is not None and _layer(drawing.clip_skip) != drawing.clip_skip:
        names.append("clip_skip")
    if isinstance(drawing, TextDrawing):
        parts = find_unsupported(f"{drawing.hr_prompt}\n{drawing.hr_negative_prompt}")
        names += distinct(parts)
    if _distilled(chosen):
        return names
    return names + [name for name in DISTILLED if getattr(drawing, name, None) is not None]


def _layer(clip_skip: float) -> int:
    """Round SD.Next's clip skip, which may lie between two layers, to the nearest whole number."""
    return max(1, int(clip_skip + 0.5))


def _adaptive(drawing: Drawing) -> float:
    """The decrease of the PAG scale per timestep, which SD.Next has under two names."""
    given = {each for each in (drawing.pag_adaptive, drawing.cfg_adaptive) if each is not None}
    if len(given) > 1:
        raise FieldError(
            "cfg_adaptive: pag_adaptive is the same under its older name, and says something else.",
            field="cfg_adaptive",
            hint="Give one of the two.",
        )
    return given.pop() if given and drawing.pag_scale else 0.0


def text_fields(
    drawing: TextDrawing, choices: Choices, chosen: Chosen, upscalers: Sequence[UpscalerInfo]
) -> Fields:
    """The fields of our request for txt2img.

    Args:
        drawing: The body, checked.
        choices: The owner's options, with those of this request.
        chosen: The checkpoint.
        upscalers: The available upscalers.

    Raises:
        SafelightError: A name is unknown, or a value is not supported.
    """
    fields = _common(drawing, choices, chosen)
    hires = _hires(drawing, fields, choices, chosen, upscalers) if drawing.enable_hr else None
    return fields | ({"hires": hires} if hires else {})


def picture_fields(drawing: PictureDrawing, choices: Choices, chosen: Chosen) -> Fields:
    """The fields of our request for img2img, without the images themselves; see ``text_fields``."""
    fields = _common(drawing, choices, chosen) | {"strength": drawing.denoising_strength}
    return fields | ({"inpaint": _inpaint(drawing)} if drawing.mask is not None else {})


def size_of(drawing: Drawing) -> Size | None:
    """The requested width and height in pixels.

    Raises:
        FieldError: One is given without the other.
    """
    if drawing.width is None and drawing.height is None:
        return None
    if drawing.width is None or drawing.height is None:
        missing = "width" if drawing.width is None else "height"
        raise FieldError(f"{missing}: width and height go together.", field=missing)
    return drawing.width, drawing.height


def _common(drawing: Drawing, choices: Choices, chosen: Chosen) -> Fields:
    usual = drawing.schedulers_sigma is None
    scheduler = _scheduler(drawing, choices)
    sampler, schedule = samplers.chosen(
        drawing.sampler_name or drawing.sampler_index, scheduler, chosen.kind, usual=usual
    )
    width, height = size_of(drawing) or (None, None)
    fields: Fields = {
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "styles": tuple(drawing.styles or ()),
        "ignore_unsupported": True,
        "checkpoint": chosen.name,
        "seed": _seed(drawing.seed),
        "count": drawing.count,
        "width": width,
        "height": height,
        "steps": drawing.steps,
        "sampler": sampler,
        "schedule": schedule,
        "eta": samplers.eta_for(sampler, drawing.eta),
        "guidance_scale": _guidance(drawing, chosen),
        "guidance_end": drawing.cfg_end,
        "guidance_rescale": drawing.diffusers_guidance_rescale,
        "pag_scale": drawing.pag_scale,
        "pag_adaptive": _adaptive(drawing),
        "clip_skip": choices.clip_skip if drawing.clip_skip is None else _layer(drawing.clip_skip),
    }
    if drawing.subseed_strength > 0:
        seed = _seed(drawing.subseed)
        strength = drawing.subseed_strength
        fields["variation"] = {
            "seed": secrets.randbelow(2**32) if seed is None else seed,
            "strength": strength,
            "same_seed": True,
        }
    return _without_defaults(fields)


def _without_defaults(fields: Fields) -> Fields:
    """Only the fields that differ from their default: jobs store, and show, what the client requested."""
    model = GenerationRequest.model_fields
    return {name: value for name, value in fields.items() if value != model[name].get_default()}


def _seed(seed: int | None) -> int | None:
    return None if seed is None or seed < 0 else seed


def _scheduler(drawing: Drawing, choices: Choices) -> str | None:
    return drawing.schedulers_sigma or drawing.scheduler or choices.schedule


def _distilled(chosen: Chosen) -> bool:
    """Whether the checkpoint takes its guidance scale as an input, as Forge's distilled_cfg_scale gives it."""
    return chosen.family is not None and chosen.family.guidance == "embedded"


def _guidance(drawing: Drawing, chosen: Chosen) -> float | None:
    scale = drawing.distilled_cfg_scale
    if scale is None or not _distilled(chosen):
        return drawing.cfg_scale
    if drawing.cfg_scale not in (None, 1, scale):
        raise FieldError(
            "cfg_scale: this checkpoint is guided by distilled_cfg_scale alone.",
            field="cfg_scale",
            hint="Give 1, or leave out one of the two.",
        )
    return scale


def _hires(
    drawing: TextDrawing,
    first: Fields,
    choices: Choices,
    chosen: Chosen,
    upscalers: Sequence[UpscalerInfo],
) -> Fields | None:
    """The fields of the second pass; None for a factor of 1, which A1111 treats as no second pass."""
    name, scale = _scale(drawing)
    if scale == 1:
        return None
    if not 1 < scale <= 8:
        raise FieldError(
            f"{name}: a second pass is 1 to 8 times as large as the first, not {scale:g}.",
            field=name,
            hint="Give a larger size, or enable_hr false.",
        )
    if _distilled(chosen) and drawing.hr_distilled_cfg not in (None, drawing.distilled_cfg_scale):
        raise _other_guidance("hr_distilled_cfg")
    strength = drawing.denoising_strength
    return {
        "scale": scale,
        "upscaler": for_hires(drawing.hr_upscaler, upscalers),
        "strength": HIRES_STRENGTH if strength is None else strength,
        "steps": drawing.hr_second_pass_steps or None,
        "all_steps": True,
        "sampler": _hires_sampler(drawing, first.get("sampler"), choices, chosen),
    }


def _hires_sampler(drawing: TextDrawing, first: str | None, choices: Choices, chosen: Chosen) -> str | None:
    """Sampler and schedule of the second pass, each inherited where it is not given; None where both are inherited."""
    sampler, scheduler = samplers.given(drawing.hr_sampler_name), samplers.given(drawing.hr_scheduler)
    if sampler is None and scheduler is None:
        return None
    sampler = sampler or first or (chosen.family.sampler if chosen.family else None)
    if sampler is None:
        raise FieldError(
            "hr_scheduler: this checkpoint's default sampler is unknown.",
            field="hr_scheduler",
            hint="Give hr_sampler_name or sampler_name too.",
        )
    return samplers.for_hires(sampler, scheduler, _scheduler(drawing, choices), chosen.kind)


def _scale(drawing: TextDrawing) -> tuple[str, float]:
    """The field that sets the size of the second pass, and the factor.

    The factor is given directly, or by a size of which one side may be 0.
    """
    across, down = drawing.hr_resize_x, drawing.hr_resize_y
    if not across and not down:
        return "hr_scale", drawing.hr_scale
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
    return ("hr_resize_x" if across else "hr_resize_y"), factors[0]


def _inpaint(drawing: PictureDrawing) -> Fields:
    if drawing.inpainting_fill >= len(FILLS):
        raise FieldError(
            "inpainting_fill: 3, latent nothing, is not supported.",
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
