"""Pictures that several checkpoints generate one after the other: a refiner, and a second pass of its own.

Each stage is a request of its own, derived here from the one that was made, and planned, leased and run like any other
(``staged_run.py``). So a second checkpoint is in memory while it is used, and takes the place of the first only where
both do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image

from safelight.errors import NothingRunsError, SafelightError, UnsupportedError
from safelight.generation.plan import Plan, executed_steps, second_pass_steps
from safelight.generation.request import GenerationRequest, Hires, Mode, Refiner
from safelight.generation.solvers.samplers import SamplerChoice, build_scheduler
from safelight.generation.solvers.sigmas import AUTOMATIC
from safelight.models.families import Family

_RENAMED: Mapping[str, frozenset[str]] = {
    "hires": frozenset(Hires.model_fields),
    "refiner": frozenset(Refiner.model_fields),
}
"""Fields of a later stage's request that are fields of its part of the whole request."""


@dataclass(frozen=True)
class Split:
    """Where a refiner takes over.

    Args:
        before: Steps of the whole schedule that lie before it.
        started: The step of the schedule at which the denoising begins: 0, or later with an initial picture.
        steps: Steps of the whole schedule.
    """

    before: int
    started: int
    steps: int

    @property
    def first(self) -> int:
        """Steps that the first checkpoint runs."""
        return self.before - self.started


@dataclass(frozen=True)
class Handover:
    """What a stage gives to the one after it.

    Args:
        split: Where it stops; None if it runs to the end.
        latents: Whether it gives latents, and not a picture.
        hires: How its result is enlarged; None if it is not.
        size: Width and height in pixels of what is given.
    """

    split: Split | None = None
    latents: bool = False
    hires: Hires | None = None
    size: tuple[int, int] = (0, 0)


def has_stages(request: GenerationRequest) -> bool:
    """Whether a request has a refiner, or a second pass with a checkpoint, prompts, adapters or guidance of its own."""
    hires = request.hires
    own = () if hires is None else (getattr(hires, name) for name in _OWN)
    return request.refiner is not None or any(value is not None for value in own)


_OWN = ("prompt", "negative_prompt", "guidance_scale", "checkpoint", "adapters")


def without_stages(request: GenerationRequest) -> GenerationRequest:
    """A request for what its first checkpoint does, with a plain second pass if that is its own."""
    hires = request.hires
    plain = None
    if hires is not None and hires.checkpoint is None:
        plain = hires.model_copy(update=dict.fromkeys(_OWN))
    return request.model_copy(update={"refiner": None, "hires": plain})


def first_request(request: GenerationRequest, family: Family) -> GenerationRequest:
    """What the first stage generates.

    Args:
        request: The whole request.
        family: Its checkpoint's.
    """
    update = {"hires": None, "refiner": None, "steps": request.steps or family.steps}
    return request.model_copy(update=update)


def refiner_request(
    request: GenerationRequest, refiner: Refiner, plan: Plan, family: Family
) -> GenerationRequest:
    """What the refiner generates: the same picture, by the same sampler and schedule.

    Args:
        request: The whole request.
        refiner: The refiner.
        plan: The first stage's.
        family: The refiner's.

    Raises:
        UnsupportedError: It cannot go on with the first checkpoint's latents, or with soft inpainting.
    """
    if request.inpaint.soft:
        raise UnsupportedError(
            "Soft inpainting does not go together with a refiner.",
            hint="Leave out one of them.",
            field="refiner",
        )
    first = plan.family
    alike = first.shares_latents(family) and first.prediction_process == family.prediction_process
    if not alike or {first.denoiser, family.denoiser} != {"unet"}:
        raise UnsupportedError(
            f"{family.title} cannot refine what {first.title} has begun.",
            hint="A refiner is for the same kind of latents: Stable Diffusion XL's refiner or another checkpoint of it "
            "for Stable Diffusion XL, one of Stable Diffusion 1 or 2 for those.",
            field="refiner.checkpoint",
        )
    update = _shared(plan) | {
        "checkpoint": refiner.checkpoint,
        "sampler": plan.sampler_choice.sampler.name,
        "schedule": _named_schedule(plan.sampler_choice),
        "steps": plan.steps,
        "guidance_scale": plan.guidance_scale,
        "width": plan.width,
        "height": plan.height,
        "vae": None,
        "text_encoders": (),
    }
    if plan.request.mode is Mode.TEXT:
        update |= {"init_image": _placeholder(plan.width, plan.height), "strength": 1.0}
    if is_refiner(family):
        update |= {"adapters": (), "control": ()}
    return request.model_copy(update=update)


def is_refiner(family: Family) -> bool:
    """Whether a family's checkpoints were made to refine: adapters and controls are for others."""
    return family.variant == "refiner"


def split_steps(plan: Plan, refiner: Refiner, scheduler: Mapping[str, Any]) -> Split:
    """Where the refiner takes over: at the first step whose timestep is below a share of all, as in diffusers.

    Args:
        plan: The first stage's.
        refiner: The refiner.
        scheduler: The config of the first checkpoint's scheduler.

    Raises:
        NothingRunsError: One of the two has no step.
    """
    solver = build_scheduler(plan.sampler_choice, scheduler, [0])
    solver.set_timesteps(plan.steps)
    trained = solver.config.num_train_timesteps
    limit = round(trained - refiner.switch_at * trained)
    before = sum(int(timestep >= limit) for timestep in solver.timesteps[:: solver.order].tolist())
    started = plan.steps - executed_steps(plan.steps, plan.strength, plan.family)
    split = Split(before, started, plan.steps)
    if split.first < 1 or split.before >= plan.steps:
        whose = "before the refiner" if split.first < 1 else "with the refiner"
        raise NothingRunsError(
            f"With switch_at {refiner.switch_at:g} and {plan.steps} steps not one step runs {whose}.",
            hint=f"Give {'a larger' if split.first < 1 else 'a smaller'} switch_at, or more steps.",
            field="refiner.switch_at",
        )
    return split


def second_request(request: GenerationRequest, plan: Plan, family: Family) -> GenerationRequest:
    """What a second pass of its own generates: a picture from the first pass's.

    Args:
        request: The whole request, which has ``hires``.
        plan: The first stage's.
        family: The second pass's.

    Raises:
        UnsupportedError: The checkpoints cannot do that.
    """
    hires = request.hires
    assert hires is not None
    if plan.request.mode is not Mode.TEXT:
        raise UnsupportedError(
            "A second pass is for text-to-image.",
            hint="Upscale the result, then start from it.",
            field="hires",
        )
    if Mode.IMAGE not in family.pipelines:
        raise UnsupportedError(
            f"{family.title} has no image-to-image, which a second pass needs.", field="hires.checkpoint"
        )
    spatial = family.latent_layout == "spatial" and family.starts_from_latents
    if hires.upscaler == "latent" and not (spatial and plan.family.shares_latents(family)):
        raise UnsupportedError(
            f"{family.title} cannot start from {plan.family.title}'s latents."
            if plan.family.key != family.key
            else f"{family.title}'s latents cannot be upscaled.",
            hint="Give hires the upscaler lanczos.",
            field="hires.upscaler",
        )
    width, height = second_size(plan, hires, family)
    same = family.prediction_process == plan.family.prediction_process and hires.sampler is None
    return request.model_copy(
        update=_shared(plan)
        | {
            "prompt": request.prompt if hires.prompt is None else hires.prompt,
            "negative_prompt": request.negative_prompt
            if hires.negative_prompt is None
            else hires.negative_prompt,
            "adapters": _second_adapters(request, hires),
            "checkpoint": hires.checkpoint or request.checkpoint,
            "vae": None if hires.checkpoint else request.vae,
            "text_encoders": () if hires.checkpoint else request.text_encoders,
            "guidance_scale": request.guidance_scale
            if hires.guidance_scale is None
            else hires.guidance_scale,
            "sampler": request.sampler if same else hires.sampler,
            "schedule": request.schedule if same else None,
            "eta": request.eta if same else None,
            "steps": second_pass_steps(hires, plan.steps, family),
            "strength": hires.strength,
            "width": width,
            "height": height,
            "init_image": _placeholder(width, height),
        }
    )


def second_size(plan: Plan, hires: Hires, family: Family) -> tuple[int, int]:
    """Width and height of a second pass in pixels, as its family needs them."""
    unit = family.size_multiple
    width, height = (int(side * hires.scale / unit + 0.5) * unit for side in (plan.width, plan.height))
    return width, height


def _second_adapters(request: GenerationRequest, hires: Hires) -> tuple[object, ...]:
    return request.adapters if hires.adapters is None else hires.adapters


def _shared(plan: Plan) -> dict[str, Any]:
    """Fields of every later stage; a variation's noise is the first one's."""
    return {"seed": plan.seed, "variation": None, "hires": None, "refiner": None}


def _named_schedule(choice: SamplerChoice) -> str | None:
    return None if choice.schedule == AUTOMATIC else choice.schedule


def _placeholder(width: int, height: int) -> Image.Image:
    """Stands for the picture that the stage before will give."""
    return Image.new("RGB", (width, height))


@contextmanager
def stage_errors(part: str) -> Iterator[None]:
    """Within the block, errors name the fields of a later stage as those of its part of the request."""
    try:
        yield
    except SafelightError as error:
        if error.field in _RENAMED[part]:
            error.field = f"{part}.{error.field}"
        raise
