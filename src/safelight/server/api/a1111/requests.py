"""Translate the bodies of txt2img and img2img to the fields of our own request."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from safelight.errors import UnsupportedFieldError
from safelight.generation.fields import request_fields
from safelight.generation.prompts.unsupported import distinct_texts, find_unsupported, remove_unsupported
from safelight.generation.request import MAX_HIRES_SCALE, GenerationRequest
from safelight.generation.upscaling.registry import UpscalerInfo
from safelight.server.api.a1111 import samplers as samplers
from safelight.server.api.a1111.controlnet import control_units, ignored_unit_fields
from safelight.server.api.a1111.options import NOISE_SOURCES, OptionValues, file_name
from safelight.server.api.a1111.schemas import (
    DENOISING_STRENGTH,
    MASK_BLUR,
    GenerationParameters,
    Img2ImgBody,
    Txt2ImgBody,
)
from safelight.server.api.a1111.scripts import check_scripts, ignored_scripts, refiner_of
from safelight.server.api.a1111.soft_inpainting import is_soft
from safelight.server.api.a1111.unsupported import check_unsupported, ineffective_fields
from safelight.server.api.checkpoint_names import SelectedCheckpoint
from safelight.server.api.image_resizing import Size
from safelight.server.api.upscaler_names import hires_upscaler

FILL_MODES = ("blur", "original", "noise")
"""Meaning of A1111's numbers in ``inpainting_fill``."""
DISTILLED_GUIDANCE_FIELDS = ("distilled_cfg_scale", "hr_distilled_cfg")
"""Forge's fields for checkpoints with embedded guidance."""
REFERENCE_FIELDS = ("denoising_strength", "resize_mode")
"""Fields of img2img without effect where the checkpoint looks at the pictures."""

RequestFields = dict[str, Any]


def check_body(body: GenerationParameters) -> None:
    """Check that a body asks for nothing that Safelight does not support.

    Raises:
        UnsupportedFieldError: A field asks for something unsupported.
    """
    check_unsupported(body.model_extra or {})
    check_scripts(body)
    control_units(body)


def _own_text(body: Txt2ImgBody, name: str) -> str | None:
    """A prompt of the second pass; None where it says what the first's does, apart from unsupported parts."""
    first, second = getattr(body, name), getattr(body, f"hr_{name}")
    negative = name == "negative_prompt"
    same = remove_unsupported(second, negative=negative) == remove_unsupported(first, negative=negative)
    return None if not second or same else second


def _second_guidance(body: Txt2ImgBody, checkpoint: SelectedCheckpoint) -> float | None:
    """The guidance scale of the second pass; None where it is the first's."""
    embedded = _has_embedded_guidance(checkpoint)
    given = body.hr_distilled_cfg if embedded else body.hr_cfg
    if embedded and body.hr_cfg not in (None, body.cfg_scale):
        raise UnsupportedFieldError(
            "hr_cfg: both passes of this checkpoint have one scale of classifier-free guidance.",
            field="hr_cfg",
            hint="Leave it out; hr_distilled_cfg may differ.",
        )
    first = body.distilled_cfg_scale if embedded else body.cfg_scale
    return None if given in (None, first) else given


def ignored_fields(body: GenerationParameters, checkpoint: SelectedCheckpoint) -> list[str]:
    """Names of fields without effect, since A1111 ignores them too or this checkpoint does not use them."""
    names = ineffective_fields(body.model_extra or {}) + ignored_scripts(body) + ignored_unit_fields(body)
    if body.clip_skip is not None and _nearest_layer(body.clip_skip) != body.clip_skip:
        names.append("clip_skip")
    if isinstance(body, Txt2ImgBody):
        parts = find_unsupported(body.hr_prompt) + find_unsupported(body.hr_negative_prompt, negative=True)
        names += distinct_texts(parts)
    if isinstance(body, Img2ImgBody) and are_references(body, checkpoint):
        names += [name for name in REFERENCE_FIELDS if name in body.model_fields_set]
    usual = GenerationRequest.model_fields["image_guidance_scale"].default
    if body.image_cfg_scale not in (None, usual) and not _has_image_guidance(checkpoint):
        names.append("image_cfg_scale")
    if _has_embedded_guidance(checkpoint):
        return names
    return names + [name for name in DISTILLED_GUIDANCE_FIELDS if getattr(body, name, None) is not None]


def _nearest_layer(clip_skip: float) -> int:
    """Round SD.Next's clip skip, which may lie between two layers, to the nearest whole number."""
    return max(1, int(clip_skip + 0.5))


def _pag_adaptive(body: GenerationParameters) -> float:
    """The decrease of the PAG scale per timestep, which SD.Next has under two names."""
    given = {each for each in (body.pag_adaptive, body.cfg_adaptive) if each is not None}
    if len(given) > 1:
        raise UnsupportedFieldError(
            "cfg_adaptive: pag_adaptive is the same under its older name, and says something else.",
            field="cfg_adaptive",
            hint="Give one of the two.",
        )
    return given.pop() if given and body.pag_scale else 0.0


def txt2img_fields(
    body: Txt2ImgBody,
    options: OptionValues,
    checkpoint: SelectedCheckpoint,
    upscalers: Sequence[UpscalerInfo],
) -> RequestFields:
    """The fields of our request for txt2img.

    Args:
        body: The body, checked.
        options: The owner's options, with those of this request.
        checkpoint: The checkpoint.
        upscalers: The available upscalers.

    Raises:
        SafelightError: A name is unknown, or a value is not supported.
    """
    fields = _common_fields(body, options, checkpoint)
    hires = _hires_fields(body, fields, options, checkpoint, upscalers) if body.enable_hr else None
    return fields | ({"hires": hires} if hires else {})


def img2img_fields(body: Img2ImgBody, options: OptionValues, checkpoint: SelectedCheckpoint) -> RequestFields:
    """The fields of our request for img2img, without the images themselves; see ``txt2img_fields``."""
    fields = _common_fields(body, options, checkpoint)
    if not are_references(body, checkpoint):
        fields["strength"] = body.denoising_strength
    elif _has_image_guidance(checkpoint) and body.image_cfg_scale is not None:
        fields["image_guidance_scale"] = body.image_cfg_scale
    return fields | ({"inpaint": _inpaint_fields(body)} if body.mask is not None else {})


def are_references(body: Img2ImgBody, checkpoint: SelectedCheckpoint) -> bool:
    """Whether the checkpoint looks at the pictures of img2img, as edit models do, instead of starting from one."""
    return body.mask is None and checkpoint.family is not None and checkpoint.family.references is not None


def _has_image_guidance(checkpoint: SelectedCheckpoint) -> bool:
    found = None if checkpoint.family is None else checkpoint.family.references
    return found is not None and found.image_guidance


def requested_size(body: GenerationParameters) -> Size | None:
    """The requested width and height in pixels.

    Raises:
        UnsupportedFieldError: One is given without the other.
    """
    if body.width is None and body.height is None:
        return None
    if body.width is None or body.height is None:
        missing = "width" if body.width is None else "height"
        raise UnsupportedFieldError(f"{missing}: width and height go together.", field=missing)
    return body.width, body.height


def _common_fields(
    body: GenerationParameters, options: OptionValues, checkpoint: SelectedCheckpoint
) -> RequestFields:
    usual = body.schedulers_sigma is None
    scheduler = _scheduler(body, options)
    sampler, schedule = samplers.select_sampler(
        body.sampler_name or body.sampler_index, scheduler, checkpoint.kind, use_defaults=usual
    )
    width, height = requested_size(body) or (None, None)
    same = {
        field.path: getattr(body, field.options.a1111)
        for field in request_fields(GenerationRequest)
        if field.options.a1111
    }
    fields: RequestFields = same | {
        "styles": tuple(body.styles or ()),
        "ignore_unsupported": True,
        "checkpoint": checkpoint.name,
        "seed": _seed_or_none(body.seed),
        "count": body.count,
        "width": width,
        "height": height,
        "sampler": sampler,
        "schedule": schedule,
        "eta": samplers.eta_for(sampler, body.eta),
        **_guidance(body, checkpoint),
        "pag_adaptive": _pag_adaptive(body),
        **_parts(options),
        "token_merging": options.token_merging,
        "seamless": "both" if body.tiling else "none",
        "noise_source": NOISE_SOURCES.get(body.diffusers_generator_device, options.noise_source),
        "clip_skip": options.clip_skip if body.clip_skip is None else _nearest_layer(body.clip_skip),
    }
    if body.subseed_strength > 0:
        seed = _seed_or_none(body.subseed)
        strength = body.subseed_strength
        fields["variation"] = {
            "seed": secrets.randbelow(2**32) if seed is None else seed,
            "strength": strength,
            "same_seed": True,
        }
    if options.refiner is not None:
        switch = refiner_of(body)[1]
        fields["refiner"] = {"checkpoint": options.refiner} | (
            {} if switch is None else {"switch_at": switch}
        )
    return _without_defaults(fields)


def _parts(options: OptionValues) -> RequestFields:
    """The networks that options name: Forge has autoencoder and text encoders in one list of paths."""
    names = [file_name(name) for name in options.modules]
    encoders = tuple(name for name in names if not _is_vae_name(name))
    vae = options.vae or next((name for name in names if _is_vae_name(name)), None)
    return {"vae": None if vae is None else file_name(vae), "text_encoders": encoders}


def _is_vae_name(name: str) -> bool:
    """Whether a file's name is an autoencoder's; a text encoder's name never has these words."""
    lower = name.lower()
    return "vae" in lower or lower.startswith("ae.") or "taesd" in lower


def _without_defaults(fields: RequestFields) -> RequestFields:
    """Only the fields that differ from their default: jobs store, and show, what the client requested."""
    model = GenerationRequest.model_fields
    return {name: value for name, value in fields.items() if value != model[name].get_default()}


def _seed_or_none(seed: int | None) -> int | None:
    return None if seed is None or seed < 0 else seed


def _scheduler(body: GenerationParameters, options: OptionValues) -> str | None:
    return body.schedulers_sigma or body.scheduler or options.schedule


def _has_embedded_guidance(checkpoint: SelectedCheckpoint) -> bool:
    """Whether the checkpoint takes its guidance scale as an input, as Forge's distilled_cfg_scale gives it."""
    return checkpoint.family is not None and checkpoint.family.guidance == "embedded"


def _has_true_guidance(checkpoint: SelectedCheckpoint) -> bool:
    """Whether it also takes classifier-free guidance beside that, as Forge's cfg_scale gives it then."""
    return checkpoint.family is not None and checkpoint.family.true_cfg


def _guidance(body: GenerationParameters, checkpoint: SelectedCheckpoint) -> RequestFields:
    """The scales of guidance: Forge has two fields for Flux, and SD.Next one more."""
    scale = body.distilled_cfg_scale
    if _has_true_guidance(checkpoint):
        beside = body.cfg_scale if scale is not None else None
        true = body.cfg_true or beside or 1.0
        return {"guidance_scale": body.cfg_scale if scale is None else scale, "true_cfg_scale": true}
    if body.cfg_true:
        raise UnsupportedFieldError(
            "cfg_true: this checkpoint is guided by cfg_scale alone.", field="cfg_true", hint="Leave it out."
        )
    return {"guidance_scale": _guidance_scale(body, checkpoint)}


def _guidance_scale(body: GenerationParameters, checkpoint: SelectedCheckpoint) -> float | None:
    scale = body.distilled_cfg_scale
    if scale is None or not _has_embedded_guidance(checkpoint):
        return body.cfg_scale
    if body.cfg_scale not in (None, 1, scale):
        raise UnsupportedFieldError(
            "cfg_scale: this checkpoint is guided by distilled_cfg_scale alone.",
            field="cfg_scale",
            hint="Give 1, or leave out one of the two.",
        )
    return scale


def _hires_fields(
    body: Txt2ImgBody,
    first: RequestFields,
    options: OptionValues,
    checkpoint: SelectedCheckpoint,
    upscalers: Sequence[UpscalerInfo],
) -> RequestFields | None:
    """The fields of the second pass; None for a factor of 1, which A1111 treats as no second pass."""
    name, scale = _hires_scale(body)
    if scale == 1:
        return None
    if not 1 < scale <= MAX_HIRES_SCALE:
        raise UnsupportedFieldError(
            f"{name}: a second pass is 1 to {MAX_HIRES_SCALE} times as large as the first, not {scale:g}.",
            field=name,
            hint="Give a larger size, or enable_hr false.",
        )
    strength = body.denoising_strength
    own = {
        "prompt": _own_text(body, "prompt"),
        "negative_prompt": _own_text(body, "negative_prompt"),
        "guidance_scale": _second_guidance(body, checkpoint),
        "checkpoint": options.second_checkpoint,
    }
    return {name: value for name, value in own.items() if value is not None} | {
        "scale": scale,
        "upscaler": hires_upscaler(body.hr_upscaler, upscalers),
        "strength": DENOISING_STRENGTH if strength is None else strength,
        "steps": body.hr_second_pass_steps or None,
        "all_steps": True,
        "sampler": _hires_sampler(body, first.get("sampler"), options, checkpoint),
    }


def _hires_sampler(
    body: Txt2ImgBody, first: str | None, options: OptionValues, checkpoint: SelectedCheckpoint
) -> str | None:
    """Sampler and schedule of the second pass, each inherited where it is not given; None where both are inherited."""
    sampler, scheduler = (
        samplers.explicit_name(body.hr_sampler_name),
        samplers.explicit_name(body.hr_scheduler),
    )
    if sampler is None and scheduler is None:
        return None
    sampler = sampler or first or (checkpoint.family.sampler if checkpoint.family else None)
    if sampler is None:
        raise UnsupportedFieldError(
            "hr_scheduler: this checkpoint's default sampler is unknown.",
            field="hr_scheduler",
            hint="Give hr_sampler_name or sampler_name too.",
        )
    return samplers.hires_sampler(sampler, scheduler, _scheduler(body, options), checkpoint.kind)


def _hires_scale(body: Txt2ImgBody) -> tuple[str, float]:
    """The field that sets the size of the second pass, and the factor.

    The factor is given directly, or by a size of which one side may be 0.
    """
    across, down = body.hr_resize_x, body.hr_resize_y
    if not across and not down:
        return "hr_scale", body.hr_scale
    size = requested_size(body)
    if size is None:
        raise UnsupportedFieldError(
            "hr_resize_x and hr_resize_y need width and height.",
            field="hr_resize_x",
            hint="Or give hr_scale.",
        )
    factors = [target / side for target, side in zip((across, down), size, strict=True) if target]
    if abs(factors[0] - factors[-1]) * max(size) >= 1:
        raise UnsupportedFieldError(
            f"hr_resize_x and hr_resize_y: {across} x {down} has not the proportions of {size[0]} x {size[1]}.",
            field="hr_resize_x",
            hint="Give one of them and 0 for the other.",
        )
    return ("hr_resize_x" if across else "hr_resize_y"), factors[0]


def _inpaint_fields(body: Img2ImgBody) -> RequestFields:
    if body.inpainting_fill >= len(FILL_MODES):
        raise UnsupportedFieldError(
            "inpainting_fill: 3, latent nothing, is not supported.",
            field="inpainting_fill",
            hint="Give 0 for fill, 1 for original or 2 for noise.",
        )
    return {
        "blur": _mask_blur(body),
        "padding": body.inpaint_full_res_padding,
        "only_masked": body.inpaint_full_res,
        "fill": FILL_MODES[body.inpainting_fill],
        "invert": bool(body.inpainting_mask_invert),
        **({"soft": True} if is_soft(body) else {}),
    }


def _mask_blur(body: Img2ImgBody) -> int:
    across, down = body.mask_blur_x, body.mask_blur_y
    if body.mask_blur is not None or (across is None and down is None):
        return MASK_BLUR if body.mask_blur is None else body.mask_blur
    given = {MASK_BLUR if blur is None else blur for blur in (across, down)}
    if len(given) > 1:
        raise UnsupportedFieldError(
            "mask_blur_x: a mask is blurred alike in both directions.",
            field="mask_blur_x",
            hint="Give mask_blur.",
        )
    return given.pop()
