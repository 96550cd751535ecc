"""Quality levels: what a picture may give up for speed, and which step cache that means for a family.

*exact* gives up nothing: fp32 in every network. *balanced* permits faster arithmetic, where the settings have it or
it was measured to be faster on this machine. *fast* also permits a step cache. What was used is in the picture's
record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from safelight.errors import UnsupportedError
from safelight.models.adapters.packaged import FEW_STEPS
from safelight.runtime.devices import is_here
from safelight.runtime.devices.placement import group_of

if TYPE_CHECKING:
    from safelight.generation.record import Machine
    from safelight.generation.request import GenerationRequest
    from safelight.models.families import Family
    from safelight.settings import MemoryStep, Settings

Quality = Literal["exact", "balanced", "fast"]
StepCacheKind = Literal["none", "deep", "extrapolate", "first-block", "magcache", "taylorseer"]
Patching = Literal["any", "pure", "none"]
"""Which patches of a denoiser its backend computes: any; those that can be compiled with it; or none."""

DEFAULT_QUALITY: Quality = "balanced"
"""What a record without a level was generated in."""
MIN_CACHED_STEPS = 6
"""A pass with fewer steps has no step cache: they differ too much from each other."""

FEW_STEPS_FAMILY = "sd1-starter"
"""The checkpoint that the packaged few-step LoRA is for."""
_UNET_CACHES: tuple[StepCacheKind, ...] = ("deep", "extrapolate")
_TRANSFORMER_CACHES: Mapping[str, tuple[StepCacheKind, ...]] = MappingProxyType(
    {
        "flux": ("first-block", "magcache", "taylorseer", "extrapolate"),
        "flux2": ("taylorseer", "extrapolate"),
        "flux2-klein": ("taylorseer", "extrapolate"),
        "qwen-image": ("first-block", "taylorseer", "extrapolate"),
        "hunyuan-image": ("first-block", "taylorseer", "extrapolate"),
        "cogview4": ("first-block", "extrapolate"),
        "chroma": ("taylorseer", "extrapolate"),
    }
)
"""The caches that diffusers has for a family's transformer, by the family's key."""
_OTHER_CACHES: tuple[StepCacheKind, ...] = ("extrapolate",)
_FAST: tuple[StepCacheKind, ...] = ("deep", "first-block", "extrapolate")
"""The caches of the level fast: the first of these that works with the denoiser."""
_INTERVALS: Mapping[StepCacheKind, int] = MappingProxyType({"deep": 3, "extrapolate": 2, "taylorseer": 3})
_THRESHOLDS: Mapping[StepCacheKind, float] = MappingProxyType({"first-block": 0.08, "magcache": 0.06})
_EXACT_STEPS: frozenset[MemoryStep] = frozenset({"phases", "blocks", "sliced-attention", "disk"})
"""The steps to fit the memory that leave the picture as it is."""


@dataclass(frozen=True)
class StepCache:
    """A step cache with its parameters.

    Args:
        kind: Which one.
        interval: Steps from one whole computation to the next; None for kinds that have none.
        threshold: The largest relative change with which blocks are left out; None for kinds that have none.
    """

    kind: StepCacheKind
    interval: int | None = None
    threshold: float | None = None


def step_caches(family: Family, patching: Patching = "any") -> tuple[StepCacheKind, ...]:
    """The step caches that work with a family's denoiser, as its backend computes it.

    Args:
        family: The family.
        patching: Which patches the backend computes. Those of the cache deep are pure; diffusers' caches for
            transformers keep a state in the network.
    """
    if family.denoiser == "unet" and patching != "none":
        return _UNET_CACHES
    if family.denoiser == "unet" or patching != "any":
        return _OTHER_CACHES
    return _TRANSFORMER_CACHES.get(family.key, _OTHER_CACHES)


def resolve_step_cache(
    request: GenerationRequest, family: Family, patching: Patching = "any"
) -> StepCache | None:
    """The step cache of a request: the one it names, else that of its level; None for none.

    Args:
        request: The request.
        family: The checkpoint's family.
        patching: As in ``step_caches``, for the choice of the level. Where calls with the patches of a cache that the
            request names cannot be computed, the modifier is refused.

    Raises:
        UnsupportedError: It names one that the family's denoiser does not have or that its level does not permit, or a
            parameter that the cache does not take.
    """
    for field, used in (
        ("step_cache", request.step_cache not in (None, "none")),
        ("token_merging", request.token_merging > 0),
    ):
        if used and request.quality == "exact":
            raise UnsupportedError(
                f"The quality exact permits no {field}.",
                hint="Give the quality balanced.",
                field=field,
                context={"other": "quality"},
            )
    known, kind = step_caches(family), request.step_cache
    if kind is None and request.quality == "fast":
        usable = step_caches(family, patching)
        kind = next(each for each in _FAST if each in usable)
    if kind is None or kind == "none":
        return None
    if kind not in known:
        raise UnsupportedError(
            f"{family.title} has no step cache {kind}.",
            hint=f"It has {' and '.join(known)}.",
            field="step_cache",
        )
    for field, taken_by in (("step_cache_interval", _INTERVALS), ("step_cache_threshold", _THRESHOLDS)):
        if getattr(request, field) is not None and kind not in taken_by:
            raise UnsupportedError(
                f"The step cache {kind} takes no {field}.",
                hint=f"These do: {', '.join(taken_by)}.",
                field=field,
            )
    interval, threshold = request.step_cache_interval, request.step_cache_threshold
    return StepCache(
        kind,
        _INTERVALS.get(kind) if interval is None else interval,
        _THRESHOLDS.get(kind) if threshold is None else threshold,
    )


def with_few_steps(request: GenerationRequest, family: Family) -> GenerationRequest:
    """A request for the starter at the level fast, drawn in four steps by its few-step LoRA, without guidance.

    That is for requests that leave open what the LoRA decides: steps, sampler, guidance and step cache. A negative
    prompt needs guidance, and control, a second pass or an initial picture more steps.
    """
    from safelight.generation.request import Adapter

    decided = (
        *(request.steps, request.sampler, request.schedule, request.eta, request.guidance_scale),
        *(request.step_cache, request.hires, request.init_image),
    )
    if (
        request.quality != "fast"
        or family.name != FEW_STEPS_FAMILY
        or any(value is not None for value in decided)
        or request.negative_prompt
        or request.styles
        or request.control
        or request.pag_scale > 0
    ):
        return request
    named = {adapter.name for adapter in request.adapters}
    added = () if FEW_STEPS in named else (Adapter(name=FEW_STEPS),)
    return request.model_copy(
        update={
            "steps": 4,
            "sampler": "TCD",
            "eta": 0.0,
            "guidance_scale": 1.0,
            "step_cache": "none",
            "adapters": (*request.adapters, *added),
        }
    )


def step_cache_notes(
    request: GenerationRequest, cache: StepCache | None, steps: Collection[int]
) -> tuple[str, ...]:
    """Where a step cache has no effect, for the record.

    Args:
        request: The request.
        cache: Its step cache.
        steps: The steps of each pass that run.
    """
    if cache is not None and min(steps) < MIN_CACHED_STEPS:
        return (f"With fewer than {MIN_CACHED_STEPS} steps no step cache is used.",)
    if cache is None and (request.step_cache_interval or request.step_cache_threshold):
        return ("Without a step cache, its interval and threshold have no effect.",)
    return ()


def with_quality(request: GenerationRequest, settings: Settings) -> GenerationRequest:
    """A request with the level of the settings where it has none."""
    if request.quality is not None:
        return request
    return request.model_copy(update={"quality": settings.generation_quality})


def quality_settings(
    settings: Settings,
    quality: Quality | None,
    family: Family,
    device: str = "",
    recorded: Machine | None = None,
    *,
    bf16_pays: bool = False,
) -> Settings:
    """The settings of a run, with the precisions that its level permits.

    Args:
        settings: Those of the program; they are returned themselves where they need no change.
        quality: The level.
        family: The checkpoint's family.
        device: The kind of device that generates: cpu, cuda …
        recorded: What a picture's record says that it ran on. To reproduce it on such a device, its precisions and
            its other devices, where this machine has them, take the place of those in the settings.
        bf16_pays: Whether a processor computes decisively faster in bf16. Denoiser and autoencoder then do, as far as
            the family allows it, unless the level is exact or the settings have a precision.
    """
    if recorded is not None and recorded.device.partition(":")[0] == device:
        update: dict[str, object] = recorded_precisions(recorded) | recorded_devices(recorded)
    elif quality == "exact":
        update = dict.fromkeys(_PRECISIONS, "fp32")
    elif bf16_pays and settings.generation_precision == "auto" and "bf16" in family.precision.denoiser:
        update = {"generation_precision": "bf16"}
        if settings.text_encoder_precision == "auto":
            update["text_encoder_precision"] = "fp32"  # they take little time, and their results are kept
    else:
        return settings
    if quality == "exact":
        update["memory_steps"] = tuple(step for step in settings.memory_steps if step in _EXACT_STEPS)
    if all(getattr(settings, name) == value for name, value in update.items()):
        return settings
    return settings.model_copy(update=update)


_PRECISIONS = ("generation_precision", "text_encoder_precision", "vae_precision")


def recorded_precisions(recorded: Machine) -> dict[str, object]:
    """The settings of precisions with which a picture ran as its record says."""
    others = recorded.other_precisions
    encoders = (precision for name, precision in others.items() if name.startswith("text_encoder"))
    values = (recorded.precision, next(encoders, recorded.precision), others.get("vae", recorded.precision))
    return dict(zip(_PRECISIONS, values, strict=True))


def recorded_devices(recorded: Machine) -> dict[str, object]:
    """The settings of other devices than the denoiser's with which a picture ran, those that this machine has."""
    found = {group_of(component): name for component, name in recorded.other_devices.items()}
    names = {"text_encoder_device": found.get("text_encoders", ""), "vae_device": found.get("vae", "")}
    return {setting: name for setting, name in names.items() if not name or is_here(name)}
