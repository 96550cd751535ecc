"""The plan of a request: every open field gets a value, and everything is checked before any work."""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safelight.errors import (
    BelowMinimumError,
    NothingRunsError,
    NotMultipleError,
    PromptError,
    SamplerIncompatibleError,
    TooManyPixelsError,
    UnsupportedError,
)
from safelight.generation.control.planning import PlannedControl
from safelight.generation.prompts import apply_styles, expand_wildcards, load_styles, select_styles
from safelight.generation.prompts.adapter_tags import find_adapter_tags, remove_adapter_tags
from safelight.generation.prompts.composition import PromptPart, prompt_parts
from safelight.generation.prompts.unsupported import (
    check_supported,
    distinct_texts,
    find_unsupported,
    remove_unsupported,
)
from safelight.generation.quality import (
    Patching,
    StepCache,
    resolve_step_cache,
    step_cache_notes,
    with_few_steps,
)
from safelight.generation.region_checks import check_parts, check_regions
from safelight.generation.request import (
    DEFAULT_STRENGTH,
    MAX_PROMPT_LENGTH,
    Adapter,
    GenerationRequest,
    Hires,
    Inpaint,
    Mode,
)
from safelight.generation.solvers.samplers import (
    SAMPLERS,
    PredictionProcess,
    SamplerChoice,
    check_compatible,
    prediction_process_of,
    resolve_sampler,
)
from safelight.models.families import FAMILIES, Family

_IMAGE_GUIDANCE = GenerationRequest.model_fields["image_guidance_scale"].get_default()


@dataclass(frozen=True)
class ExpandedPrompts:
    """A picture's prompts with styles, wildcards and variants expanded.

    Args:
        prompt: What to generate.
        negative_prompt: What to avoid.
        left_out: Unsupported parts of both prompts that are ignored, as written.
        adapters: The request's adapters, and those of the prompt, which is without them here.
        regions: The prompts of the request's regions.
    """

    prompt: str
    negative_prompt: str
    left_out: tuple[str, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    regions: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[PromptPart, ...]:
        """The parts that AND composes the prompt of; one, without it."""
        return prompt_parts(self.prompt)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is encoded: the prompt's parts, the negative prompt, the regions."""
        return (*(part.text for part in self.parts), self.negative_prompt, *self.regions)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request with a value for every field.

    Args:
        request: The request.
        family: The checkpoint's family.
        seed: The first picture's seed.
        width: Pixels; of the first pass if there are two.
        height: Pixels.
        steps: Steps of the first pass.
        sampler_choice: Sampler and sigma schedule.
        eta: Fraction of fresh noise of samplers that take it, 0 to 1; None for all others.
        guidance_scale: 1 is no guidance.
        strength: Denoising strength, 0 to 1; None without an initial picture.
        hires_sampler_choice: Sampler of the second pass.
        hires_steps: Steps of the second pass before the strength reduces them; 0 without a second pass.
        step_cache: The step cache of its passes; None for none.
        controls: The controls with their networks.
        reference_sizes: Width and height of each reference in pixels.
        with_adapters: Whether the adapters of request and prompts have an effect: a refiner has none.
        notes: Notes for the user on fields without effect.
    """

    request: GenerationRequest
    family: Family
    seed: int
    width: int
    height: int
    steps: int
    sampler_choice: SamplerChoice
    eta: float | None
    guidance_scale: float
    strength: float | None
    hires_sampler_choice: SamplerChoice | None = None
    hires_steps: int = 0
    step_cache: StepCache | None = None
    controls: tuple[PlannedControl, ...] = ()
    reference_sizes: tuple[tuple[int, int], ...] = ()
    with_adapters: bool = True
    notes: tuple[str, ...] = ()

    def seed_of(self, index: int) -> int:
        """The seed of picture `index`."""
        return self.seed + self.request.seed_offset(index)

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance also runs the network on the negative prompt."""
        if self.family.true_cfg:
            return self.request.true_cfg_scale > 1
        return self.guidance_scale > 1 and self.family.guidance in ("cfg-batched", "cfg-separate")

    @property
    def hires_size(self) -> tuple[int, int]:
        """Width and height of the second pass."""
        hires = self.request.hires
        factor = hires.scale if hires else 1.0
        unit = self.family.size_multiple
        width, height = (int(side * factor / unit + 0.5) * unit for side in (self.width, self.height))
        return width, height

    def prompts(self, index: int, home: Path) -> ExpandedPrompts:
        """The expanded prompts of picture `index`, whose seed chooses from wildcards.

        Args:
            index: Which picture, from 0.
            home: The data directory, which contains the styles and wildcards.

        Raises:
            StyleUnknownError, WildcardError, PromptError: A style or wildcard is missing, recursive without end, or
                too long.
            PromptUnsupportedError: A style or wildcard has unsupported syntax, and the request does not ignore it.
            PromptError: An adapter in the prompt cannot be read.
        """
        request = self.request
        styles = select_styles(request.styles, load_styles(home / "styles")) if request.styles else []
        prompt, negative = apply_styles(request.prompt, request.negative_prompt, styles)
        folder, seed = home / "wildcards", self.seed_of(index)
        given = (prompt, negative, *(region.prompt for region in request.regions))
        prompt, negative, *regions = (expand_wildcards(text, seed, folder) for text in given)
        if (longest := max(map(len, (prompt, negative, *regions)))) > MAX_PROMPT_LENGTH:
            # the record could not be parsed again
            raise PromptError(
                f"With its choices and styles filled in, a prompt comes to {longest} characters, "
                f"and {MAX_PROMPT_LENGTH} are allowed.",
                context={"maximum": MAX_PROMPT_LENGTH},
            )
        left_out: tuple[str, ...] = ()
        composes = self.family.composes
        if request.ignore_unsupported:
            found = find_unsupported(prompt, composes=composes)
            found += [part for text in (negative, *regions) for part in find_unsupported(text, negative=True)]
            left_out = distinct_texts(found)
            prompt = remove_unsupported(prompt, composes=composes)
            negative, *regions = (remove_unsupported(text, negative=True) for text in (negative, *regions))
        filled = "with its styles and choices filled in,"
        check_supported(prompt, f"prompt, {filled}", composes=composes)
        check_supported(negative, f"negative prompt, {filled}", "negative_prompt", negative=True)
        for number, text in enumerate(regions):
            name = f"prompt of region {number + 1}, with its choices filled in,"
            check_supported(text, name, f"regions.{number}.prompt", negative=True)
        tags = find_adapter_tags(prompt)
        adapters = (*request.adapters, *(Adapter.model_validate(tag.fields) for tag in tags))
        if not self.with_adapters:
            adapters = ()
        expanded = ExpandedPrompts(remove_adapter_tags(prompt), negative, left_out, adapters, tuple(regions))
        check_parts(expanded.parts, self)
        return expanded


def make_plan(
    request: GenerationRequest,
    family: Family,
    scheduler: Mapping[str, Any],
    *,
    native_side: int,
    canvas: tuple[int, int] | None = None,
    patching: Patching = "any",
) -> Plan:
    """Choose every open value of a request, and check all values.

    Args:
        request: The request.
        family: The checkpoint's family.
        scheduler: The checkpoint's own scheduler configuration.
        native_side: Width and height on which the checkpoint was trained, in pixels.
        canvas: Width and height of the initial picture, in pixels (with outpainting: of the larger canvas); of the
            result, if a reference suggests them.
        patching: Which patches of the denoiser its backend computes.

    Raises:
        RequestError, SamplerUnknownError, SamplerIncompatibleError, UnsupportedError: The checkpoint does not support
            a value.
    """
    request = with_few_steps(request, family)
    mode = request.mode
    try:
        family.pipeline_name(mode)
    except UnsupportedError as error:
        error.field = "mask" if request.mask is not None else "init_image"
        if mode is Mode.IMAGE and family.references is not None:
            error.hint = "Leave out the strength: then it looks at the picture."
        raise
    _check_guidance(request, family)
    _check_soft_inpainting(request, family)
    check_regions(request, family)
    step_cache = _resolve_shortcuts(request, family, patching)
    process = prediction_process_of(scheduler)
    steps = request.steps or family.steps
    sampler_choice = _resolve_sampler_choice(request.sampler, request.schedule, family, process)
    trained_steps = int(scheduler.get("num_train_timesteps", 1000))
    sampler_choice.check_steps(steps, trained_steps)
    if steps < family.min_steps:
        raise BelowMinimumError(
            f"{family.title} takes at least {family.min_steps} steps.",
            hint="",
            field="steps",
            context={"minimum": family.min_steps},
        )
    strength = (
        None
        if mode is Mode.TEXT
        else DEFAULT_STRENGTH[mode]
        if request.strength is None
        else request.strength
    )
    _check_strength(strength, steps, family, "strength")
    width, height = _resolve_size(request, family, native_side, canvas)
    paint = family.references.painted_size if family.references and mode is Mode.INPAINT else None
    if paint is not None:
        width, height = paint((width, height))
    guidance_scale = family.guidance_scale if request.guidance_scale is None else request.guidance_scale
    hires_sampler_choice, hires_steps = None, 0
    if request.hires:
        hires_sampler_choice = _resolve_hires_choice(request.hires, request, family, process, sampler_choice)
        hires_steps = second_pass_steps(request.hires, steps, family)
        hires_sampler_choice.check_steps(hires_steps, trained_steps)
        if request.hires.sampler is not None:
            check_compatible(hires_sampler_choice, scheduler)
        _check_strength(request.hires.strength, hires_steps, family, "hires.strength")
    executed = [executed_steps(steps, strength, family)]
    if request.hires:
        executed.append(executed_steps(hires_steps, request.hires.strength, family))
    return Plan(
        request=request,
        family=family,
        seed=secrets.randbelow(2**32) if request.seed is None else request.seed,
        width=width,
        height=height,
        steps=steps,
        sampler_choice=sampler_choice,
        eta=_resolve_eta(request, sampler_choice),
        guidance_scale=guidance_scale,
        strength=strength,
        hires_sampler_choice=hires_sampler_choice,
        hires_steps=hires_steps,
        step_cache=step_cache,
        notes=(
            *_notes(request, family, guidance_scale),
            *_inpainting_notes(request, strength),
            *([f"{family.title} paints what is masked at {width} x {height}."] if paint else []),
            *step_cache_notes(request, step_cache, executed),
        ),
    )


def executed_steps(steps: int, strength: float | None, family: Family) -> int:
    """The number of steps that run from an initial picture: diffusers' pipelines skip the first ones.

    Pipelines with a U-Net round down, all others up.
    """
    if strength is None:
        return steps
    run_steps = min(steps * strength, steps)
    return int(run_steps) if family.denoiser == "unet" else steps - int(steps - run_steps)


def second_pass_steps(hires: Hires, first: int, family: Family) -> int:
    """Steps of the second pass before the strength reduces them; with all_steps, enough to leave those requested."""
    requested = hires.steps or first
    if not hires.all_steps or hires.strength == 0:
        return requested
    steps = math.floor(requested / hires.strength)
    while executed_steps(steps, hires.strength, family) < requested:
        steps += 1
    return steps


def _check_strength(strength: float | None, steps: int, family: Family, field: str) -> None:
    if executed_steps(steps, strength, family) < 1:
        least = math.ceil(100 / steps) / 100
        raise NothingRunsError(
            f"With strength {strength} and {steps} steps not one step runs.",
            hint=f"Raise the strength to {least} or more, or give more steps.",
            field=field,
            context={"minimum": least, "steps": steps},
        )


def _resolve_sampler_choice(
    sampler: str | None, schedule: str | None, family: Family, process: PredictionProcess
) -> SamplerChoice:
    if sampler is not None:
        return resolve_sampler(sampler, schedule, process)
    return resolve_sampler(family.sampler, schedule or family.schedule, process)


def _resolve_eta(request: GenerationRequest, choice: SamplerChoice) -> float | None:
    if request.eta is not None and choice.sampler.eta is None:
        supporting = ", ".join(sampler.name for sampler in SAMPLERS.values() if sampler.eta is not None)
        raise SamplerIncompatibleError(
            f"{choice.sampler.name} does not take eta.", hint=f"These do: {supporting}.", field="eta"
        )
    return choice.sampler.eta if request.eta is None else request.eta


def _resolve_hires_choice(
    hires: Hires, request: GenerationRequest, family: Family, process: PredictionProcess, first: SamplerChoice
) -> SamplerChoice:
    if Mode.IMAGE not in family.pipelines:
        raise UnsupportedError(
            f"{family.title} has no image-to-image, which a second pass needs.", field="hires"
        )
    if request.mode is not Mode.TEXT:
        raise UnsupportedError(
            "A second pass is for text-to-image.",
            hint="Upscale the result, then start from it.",
            field="hires",
        )
    from_latents = family.latent_layout == "spatial" and family.starts_from_latents
    if hires.upscaler == "latent" and not from_latents:
        raise UnsupportedError(
            f"{family.title}'s latents cannot be upscaled.",
            hint="Give hires the upscaler lanczos.",
            field="hires.upscaler",
        )
    return first if hires.sampler is None else resolve_sampler(hires.sampler, None, process)


def _check_guidance(request: GenerationRequest, family: Family) -> None:
    """Check that the family supports the guidance options."""
    if request.pag_scale > 0 and family.pag is None:
        raise UnsupportedError(
            f"{family.title} has no perturbed-attention guidance for {request.mode}.",
            hint="Leave pag_scale at 0.",
            field="pag_scale",
        )
    special = _special_guidance(request)
    if special and not (family.guidance == "cfg-batched" and family.unconditional_first):
        raise UnsupportedError(
            f"{family.title} does not take {special[0]}.",
            hint="Leave it at its default.",
            field=special[0].partition(" ")[0],
        )
    if special and request.pag_scale > 0:
        raise UnsupportedError(
            f"{special[0]} cannot be combined with perturbed-attention guidance.",
            field=special[0].partition(" ")[0],
            context={"other": "pag_scale"},
        )
    if request.guidance_method == "cfg-zero" and family.prediction_process != "flow":
        raise UnsupportedError(
            f"CFG-Zero* is for flow-matching checkpoints; {family.title} is none.",
            hint="Leave guidance at cfg.",
            field="guidance_method",
        )
    if request.true_cfg_scale > 1 and not family.true_cfg:
        raise UnsupportedError(
            f"{family.title} takes no true_cfg_scale.",
            hint="It is for Flux, whose guidance_scale is another one. Leave it at 1.",
            field="true_cfg_scale",
        )
    if request.clip_skip > 1 and not family.clip_skip:
        raise UnsupportedError(
            f"{family.title} does not take clip_skip.", hint="Leave it at 1.", field="clip_skip"
        )
    if request.variation and (request.mode is not Mode.TEXT or family.latent_layout != "spatial"):
        raise UnsupportedError(
            "Variations mix the noise that text-to-image starts from.",
            hint="Leave out the variation, or the initial picture.",
            field="variation",
        )


def _check_soft_inpainting(request: GenerationRequest, family: Family) -> None:
    if request.inpaint.soft and request.mode is Mode.INPAINT and family.reads_masks:
        raise UnsupportedError(
            f"{family.title} reads the mask itself, as black or white: it has no soft inpainting.",
            hint="Leave inpaint.soft out, or take a checkpoint that is not made for inpainting.",
            field="inpaint.soft",
        )


def _resolve_shortcuts(request: GenerationRequest, family: Family, patching: Patching) -> StepCache | None:
    """The step cache, if the family's denoiser supports what is asked for."""
    if request.token_merging > 0 and family.denoiser != "unet":
        raise UnsupportedError(
            f"{family.title} has no token merging, which is for U-Nets.",
            hint="Leave token_merging at 0.",
            field="token_merging",
        )
    if request.seamless != "none" and family.denoiser != "unet":
        able = [each.title for each in FAMILIES.values() if each.denoiser == "unet" and not each.variant]
        raise UnsupportedError(
            f"{family.title} generates no seamless pictures: it knows where each part of a picture lies.",
            hint=f"These do: {', '.join(able)}. Leave seamless at none.",
            field="seamless",
        )
    return resolve_step_cache(request, family, patching)


def _special_guidance(request: GenerationRequest) -> list[str]:
    """The names of the guidance options in use other than the scale."""
    special = {
        "guidance_rescale": request.guidance_rescale > 0,
        "guidance_start": request.guidance_start > 0,
        "guidance_end": request.guidance_end < 1,
        "guidance_method cfg-zero": request.guidance_method == "cfg-zero",
    }
    return [name for name, used in special.items() if used]


def check_sides(width: int | None, height: int | None, family: Family) -> None:
    """Check the requested width and height against a family.

    Args:
        width: Pixels; None where it is open.
        height: Likewise.
        family: The checkpoint's family.

    Raises:
        NotMultipleError: One is no multiple of what the family needs.
    """
    unit = family.size_multiple
    for name, side in (("width", width), ("height", height)):
        if side is not None and side % unit:
            lower = max(unit, side // unit * unit)
            raise NotMultipleError(
                f"{name} {side} is no multiple of {unit}, as {family.title} needs.",
                hint=f"Give {lower} or {lower + unit}.",
                field=name,
                context={"multiple": unit, "nearest": [lower, lower + unit]},
            )


def _resolve_size(
    request: GenerationRequest, family: Family, native: int, canvas: tuple[int, int] | None
) -> tuple[int, int]:
    """Width and height: as requested, else those of the canvas, else the checkpoint's own."""
    unit = family.size_multiple
    check_sides(request.width, request.height, family)
    masked_only = request.mask is not None and request.inpaint.only_masked  # its size is not known yet
    default = (native, native) if canvas is None or masked_only else canvas
    width, height = (max(unit, round(side / unit) * unit) for side in default)
    width, height = request.width or width, request.height or height
    if family.max_pixels and width * height > family.max_pixels:
        raise TooManyPixelsError(
            f"{width} x {height} is more than the {family.max_pixels} pixels that {family.title} can generate.",
            hint="Ask for a smaller picture.",
            context={"maximum": family.max_pixels, "width": width, "height": height},
        )
    return width, height


def _notes(request: GenerationRequest, family: Family, scale: float) -> tuple[str, ...]:
    notes = []
    if request.negative_prompt and family.true_cfg and request.true_cfg_scale <= 1:
        notes.append(
            f"{family.title} reads a negative prompt with true_cfg_scale above 1 only: it had no effect."
        )
    elif request.negative_prompt and not (family.supports_negative or family.true_cfg):
        notes.append(f"{family.title} has no negative prompt: it had no effect.")
    elif request.negative_prompt and scale <= 1 and not family.true_cfg:
        notes.append("Without guidance (scale 1) the negative prompt has no effect.")
    if family.guidance == "none" and request.guidance_scale is not None and request.guidance_scale != 1:
        notes.append(f"{family.title} takes no guidance: its scale had no effect.")
    elif family.guidance != "embedded" and scale < 1:
        notes.append("A guidance scale below 1 counts as 1.")
    looking = family.references
    if request.image_guidance_scale != _IMAGE_GUIDANCE and not (looking and looking.image_guidance):
        notes.append(f"{family.title} takes no image_guidance_scale: it had no effect.")
    if request.region_method != "prediction" and not request.regions:
        notes.append("Without regions, region_method has no effect.")
    if request.pag_adaptive and not request.pag_scale:
        notes.append("Without pag_scale, pag_adaptive has no effect.")
    if scale <= 1 and (special := _special_guidance(request)):
        notes.append(f"Without guidance (scale 1) {special[0]} has no effect.")
    return tuple(notes)


def _inpainting_notes(request: GenerationRequest, strength: float | None) -> tuple[str, ...]:
    """Notes on inpainting options that have no effect."""
    defaults = Inpaint()
    given = {
        name for name in Inpaint.model_fields if getattr(request.inpaint, name) != getattr(defaults, name)
    }
    if request.mode is not Mode.INPAINT:
        without_effect, reason = given, "Without a mask"
    elif request.outpaint is not None:
        without_effect, reason = (
            given & {"only_masked", "padding", "invert"},
            "With outpainting",
        )
    else:
        without_effect, reason = set(), ""
    notes = [f"{reason} {_join_names(without_effect)} had no effect."] if without_effect else []
    if "fill" in given - without_effect and strength == 1 and not request.inpaint.soft:
        notes.append("At strength 1 denoising starts from noise alone: fill had no effect.")
    return tuple(notes)


def _join_names(names: Collection[str]) -> str:
    """Names as a phrase: a, b and c."""
    *others, last = sorted(names)
    return f"{', '.join(others)} and {last}" if others else last
