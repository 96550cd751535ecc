"""From a request to a plan: every open field gets its value, and all is checked before any work."""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safelight.errors import PromptError, RequestError, SamplerIncompatibleError, UnsupportedError
from safelight.generation.prompts import apply_styles, expand_wildcards, load_styles, select_styles
from safelight.generation.prompts.unsupported import (
    check_supported,
    distinct_texts,
    find_unsupported,
    remove_unsupported,
)
from safelight.generation.request import MAX_WORDS, STRENGTH, GenerationRequest, Hires, Inpaint, Mode
from safelight.generation.solvers.samplers import (
    SAMPLERS,
    PredictionProcess,
    SamplerChoice,
    check_compatible,
    prediction_process_of,
    resolve_sampler,
)
from safelight.models.families import Family


@dataclass(frozen=True)
class ExpandedPrompts:
    """A picture's prompts with styles, wildcards and variants filled in.

    Args:
        prompt: What to generate.
        negative_prompt: What to avoid.
        left_out: Unsupported parts of both that are ignored, as they are written.
    """

    prompt: str
    negative_prompt: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request with a value for every field.

    Args:
        request: The request.
        family: The checkpoint's family.
        seed: Of the first picture.
        width: Pixels that are denoised; of the first pass where there are two.
        height: Pixels.
        steps: Of the first pass.
        choice: Sampler and sigma schedule.
        eta: Fresh noise of samplers that take it, 0 to 1; None for all others.
        guidance_scale: 1 is no guidance.
        strength: Denoising strength, 0 to 1; None without an initial picture.
        hires_choice: Sampler of the second pass.
        hires_steps: Steps of the second pass, before the strength takes its share; 0 without a second pass.
        notes: What the user should know: which fields have no effect.
    """

    request: GenerationRequest
    family: Family
    seed: int
    width: int
    height: int
    steps: int
    choice: SamplerChoice
    eta: float | None
    guidance_scale: float
    strength: float | None
    hires_choice: SamplerChoice | None = None
    hires_steps: int = 0
    notes: tuple[str, ...] = ()

    def seed_of(self, index: int) -> int:
        """Picture `index`'s own seed."""
        return self.seed + self.request.counted(index)

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance runs the network on the negative prompt too."""
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
        """Picture `index`'s prompts: its own seed chooses from wildcards.

        Args:
            index: Which picture, from 0.
            home: The data directory, which has the styles and wildcards.

        Raises:
            StyleUnknownError, WildcardError, PromptError: A style or wildcard is missing, endless or too long.
            PromptUnsupportedError: A style or wildcard has unsupported syntax, and the request does not ignore it.
        """
        request = self.request
        styles = select_styles(request.styles, load_styles(home / "styles")) if request.styles else []
        prompt, negative = apply_styles(request.prompt, request.negative_prompt, styles)
        folder, seed = home / "wildcards", self.seed_of(index)
        prompt, negative = (expand_wildcards(text, seed, folder) for text in (prompt, negative))
        if (longest := max(len(prompt), len(negative))) > MAX_WORDS:  # the record could not be read again
            raise PromptError(
                f"With its choices and styles filled in, a prompt comes to {longest} characters, "
                f"and {MAX_WORDS} are allowed."
            )
        if request.ignore_unsupported:
            left_out = distinct_texts([*find_unsupported(prompt), *find_unsupported(negative)])
            return ExpandedPrompts(remove_unsupported(prompt), remove_unsupported(negative), left_out)
        for text, name in ((prompt, "prompt"), (negative, "negative prompt")):
            check_supported(text, f"{name}, with its styles and choices filled in,")
        return ExpandedPrompts(prompt, negative)


def make_plan(
    request: GenerationRequest,
    family: Family,
    scheduler: Mapping[str, Any],
    *,
    native_side: int,
    canvas: tuple[int, int] | None = None,
) -> Plan:
    """Choose every open value of a request, and check all of them.

    Args:
        request: The request.
        family: The checkpoint's family.
        scheduler: The checkpoint's own scheduler configuration.
        native_side: Width and height that the checkpoint was trained on, in pixels.
        canvas: Width and height of the initial picture, in pixels (with outpainting: of the larger canvas).

    Raises:
        RequestError, SamplerUnknownError, SamplerIncompatibleError, UnsupportedError: The checkpoint cannot do it.
    """
    mode = request.mode
    family.pipeline_name(mode, pag=request.pag_scale > 0)
    _check_guidance(request, family)
    kind = prediction_process_of(scheduler)
    steps = request.steps or family.steps
    choice = _choice(request.sampler, request.schedule, family, kind)
    trained = int(scheduler.get("num_train_timesteps", 1000))
    choice.check_steps(steps, trained)
    if steps < family.min_steps:
        raise RequestError(f"{family.title} takes at least {family.min_steps} steps.")
    strength = None if mode is Mode.TEXT else STRENGTH[mode] if request.strength is None else request.strength
    _check_strength(strength, steps, family)
    width, height = _size(request, family, native_side, canvas)
    scale = family.guidance_scale if request.guidance_scale is None else request.guidance_scale
    hires_choice, hires_steps = None, 0
    if request.hires:
        hires_choice = _hires_choice(request.hires, request, family, kind, choice)
        hires_steps = _hires_steps(request.hires, steps, family)
        hires_choice.check_steps(hires_steps, trained)
        if request.hires.sampler is not None:
            check_compatible(hires_choice, scheduler)
        _check_strength(request.hires.strength, hires_steps, family)
    return Plan(
        request=request,
        family=family,
        seed=secrets.randbelow(2**32) if request.seed is None else request.seed,
        width=width,
        height=height,
        steps=steps,
        choice=choice,
        eta=_eta(request, choice),
        guidance_scale=scale,
        strength=strength,
        hires_choice=hires_choice,
        hires_steps=hires_steps,
        notes=(*_notes(request, family, scale), *_inpainting_notes(request, strength)),
    )


def executed_steps(steps: int, strength: float | None, family: Family) -> int:
    """How many of the steps run from an initial picture: diffusers' pipelines leave out the first ones.

    Pipelines with a U-Net round down, all others up.
    """
    if strength is None:
        return steps
    share = min(steps * strength, steps)
    return int(share) if family.denoiser == "unet" else steps - int(steps - share)


def _hires_steps(hires: Hires, first: int, family: Family) -> int:
    """Steps of the second pass before the strength takes its share; with all_steps as many as leave those asked for."""
    wanted = hires.steps or first
    if not hires.all_steps or hires.strength == 0:
        return wanted
    steps = math.floor(wanted / hires.strength)
    while executed_steps(steps, hires.strength, family) < wanted:
        steps += 1
    return steps


def _check_strength(strength: float | None, steps: int, family: Family) -> None:
    if executed_steps(steps, strength, family) < 1:
        raise RequestError(
            f"With strength {strength} and {steps} steps not one step is drawn.",
            hint=f"Raise the strength to {math.ceil(100 / steps) / 100} or more, or give more steps.",
        )


def _choice(
    sampler: str | None, schedule: str | None, family: Family, kind: PredictionProcess
) -> SamplerChoice:
    if sampler is not None:
        return resolve_sampler(sampler, schedule, kind)
    return resolve_sampler(family.sampler, schedule or family.schedule, kind)


def _eta(request: GenerationRequest, choice: SamplerChoice) -> float | None:
    if request.eta is not None and choice.sampler.eta is None:
        takers = ", ".join(sampler.name for sampler in SAMPLERS.values() if sampler.eta is not None)
        raise SamplerIncompatibleError(
            f"{choice.sampler.name} does not take eta.", hint=f"These do: {takers}."
        )
    return choice.sampler.eta if request.eta is None else request.eta


def _hires_choice(
    hires: Hires, request: GenerationRequest, family: Family, kind: PredictionProcess, first: SamplerChoice
) -> SamplerChoice:
    if Mode.IMAGE not in family.pipelines:
        raise UnsupportedError(f"{family.title} has no image-to-image, which a second pass needs.")
    if request.mode is not Mode.TEXT:
        raise UnsupportedError(
            "A second pass is for text-to-image.", hint="Upscale the result, then start from it."
        )
    family.pipeline_name(Mode.IMAGE, pag=request.pag_scale > 0)
    if hires.upscaler == "latent" and family.latent_layout != "spatial":
        raise UnsupportedError(
            f"{family.title}'s latents cannot be enlarged.", hint="Give hires the upscaler lanczos."
        )
    return first if hires.sampler is None else resolve_sampler(hires.sampler, None, kind)


def _check_guidance(request: GenerationRequest, family: Family) -> None:
    """Refuse guidance options that the family does not support."""
    asked = _special_guidance(request)
    if asked and not (family.guidance == "cfg-batched" and family.unconditional_first):
        raise UnsupportedError(f"{family.title} does not take {asked[0]}.", hint="Leave it at its default.")
    if asked and request.pag_scale > 0:
        raise UnsupportedError(f"{asked[0]} cannot be combined with perturbed-attention guidance.")
    if request.guidance_method == "cfg-zero" and family.prediction_process != "flow":
        raise UnsupportedError(
            f"CFG-Zero* is for flow-matching checkpoints; {family.title} is none.",
            hint="Leave guidance at cfg.",
        )
    if request.clip_skip > 1 and not family.clip_skip:
        raise UnsupportedError(f"{family.title} does not take clip_skip.", hint="Leave it at 1.")
    if request.variation and (request.mode is not Mode.TEXT or family.latent_layout != "spatial"):
        raise UnsupportedError(
            "Variations mix the noise that text-to-image starts from.",
            hint="Leave out the variation, or the initial picture.",
        )


def _special_guidance(request: GenerationRequest) -> list[str]:
    """Names of the guidance options that are used beside the scale."""
    special = {
        "guidance_rescale": request.guidance_rescale > 0,
        "guidance_start": request.guidance_start > 0,
        "guidance_end": request.guidance_end < 1,
        "guidance_method cfg-zero": request.guidance_method == "cfg-zero",
    }
    return [name for name, wanted in special.items() if wanted]


def _size(
    request: GenerationRequest, family: Family, native: int, canvas: tuple[int, int] | None
) -> tuple[int, int]:
    """Width and height: as asked for, else those of the canvas, else the checkpoint's own."""
    unit = family.size_multiple
    for name, side in (("width", request.width), ("height", request.height)):
        if side is not None and side % unit:
            down = max(unit, side // unit * unit)
            raise RequestError(
                f"{name} {side} is no multiple of {unit}, as {family.title} needs.",
                hint=f"Give {down} or {down + unit}.",
            )
    masked_only = request.mask is not None and request.inpaint.only_masked  # its size is not known yet
    usual = (native, native) if canvas is None or masked_only else canvas
    width, height = (max(unit, round(side / unit) * unit) for side in usual)
    return request.width or width, request.height or height


def _notes(request: GenerationRequest, family: Family, scale: float) -> tuple[str, ...]:
    notes = []
    if request.negative_prompt and not family.supports_negative:
        notes.append(f"{family.title} has no negative prompt: it had no effect.")
    elif request.negative_prompt and scale <= 1:
        notes.append("Without guidance (scale 1) the negative prompt has no effect.")
    if family.guidance == "none" and request.guidance_scale is not None and request.guidance_scale != 1:
        notes.append(f"{family.title} takes no guidance: its scale had no effect.")
    elif family.guidance != "embedded" and scale < 1:
        notes.append("A guidance scale below 1 counts as 1.")
    if request.pag_adaptive and not request.pag_scale:
        notes.append("Without pag_scale, pag_adaptive has no effect.")
    if scale <= 1 and (special := _special_guidance(request)):
        notes.append(f"Without guidance (scale 1) {special[0]} has no effect.")
    return tuple(notes)


def _inpainting_notes(request: GenerationRequest, strength: float | None) -> tuple[str, ...]:
    """Notes on inpainting options that have no effect."""
    usual = Inpaint()
    given = {name for name in Inpaint.model_fields if getattr(request.inpaint, name) != getattr(usual, name)}
    if request.mode is not Mode.INPAINT:
        idle, why = given, "Without a mask"
    elif request.outpaint is not None:
        idle, why = (
            given & {"only_masked", "padding", "invert"},
            "Where a picture is drawn on beyond its edges",
        )
    else:
        idle, why = set(), ""
    notes = [f"{why} {_listed(idle)} had no effect."] if idle else []
    if "fill" in given - idle and strength == 1:
        notes.append("At strength 1 drawing starts from noise alone: fill had no effect.")
    return tuple(notes)


def _listed(names: Collection[str]) -> str:
    """Names as a phrase: a, b and c."""
    *others, last = sorted(names)
    return f"{', '.join(others)} and {last}" if others else last
