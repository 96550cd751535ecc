"""Translate the names of samplers and schedulers between A1111 and Safelight."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from safelight.errors import SamplerIncompatibleError
from safelight.generation.solvers.registry import SAMPLERS, Sampler
from safelight.generation.solvers.samplers import (
    SCHEDULE_ALIASES,
    SCHEDULES,
    PredictionProcess,
    SamplerChoice,
    resolve_sampler,
    schedule_label,
)
from safelight.generation.solvers.sigmas import AUTOMATIC

DEFAULT_SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "DPM++ 2M": "karras",
        "DPM++ SDE": "karras",
        "DPM++ 2S a": "karras",
        "DPM2": "karras",
        "DPM2 a": "karras",
        "DPM++ 2M SDE": "exponential",
        "DPM++ 2M SDE Heun": "exponential",
        "DPM++ 3M SDE": "exponential",
    }
)
"""The schedule that A1111 uses with a sampler by default."""

_INHERITED_NAMES = frozenset(
    {"", "none", "default", "use same sampler", "same as primary", "use same scheduler"}
)
_NO_SAMPLER = _INHERITED_NAMES
_NO_SCHEDULE = _INHERITED_NAMES | {"automatic"}


def select_sampler(
    sampler: str | None, scheduler: str | None, kind: PredictionProcess | None, *, use_defaults: bool = True
) -> tuple[str | None, str | None]:
    """Our sampler and schedule for A1111's names; None for what the checkpoint decides.

    Args:
        sampler: A name, which may end with the name of a schedule, as until A1111 1.8.
        scheduler: A name; Automatic is the sampler's default schedule.
        kind: What the checkpoint predicts; None where that is unknown.
        use_defaults: Whether to apply A1111's default schedules.

    Raises:
        SamplerUnknownError, SamplerIncompatibleError: As in ``samplers.resolve``.
    """
    schedule = None if scheduler is None or scheduler.strip().lower() in _NO_SCHEDULE else scheduler
    if sampler is None or sampler.strip().lower() in _NO_SAMPLER:
        return None, schedule
    choice = _resolve_for_kind(sampler, schedule, kind)
    return choice.sampler.name, _schedule_name(
        choice, use_defaults=use_defaults and kind is PredictionProcess.DIFFUSION
    )


def _resolve_for_kind(sampler: str, schedule: str | None, kind: PredictionProcess | None) -> SamplerChoice:
    """Resolve the sampler for a checkpoint; families do not tell EDM from diffusion, and some are unknown."""
    kinds = list(PredictionProcess) if kind is None else [kind]
    if kind is PredictionProcess.DIFFUSION:
        kinds.append(PredictionProcess.EDM)
    problems = []
    for each in kinds:
        try:
            return resolve_sampler(sampler, schedule, each)
        except SamplerIncompatibleError as error:
            problems.append(error)
    raise problems[0]


def _schedule_name(choice: SamplerChoice, *, use_defaults: bool) -> str | None:
    if choice.schedule != AUTOMATIC:
        return choice.schedule
    return DEFAULT_SCHEDULES.get(choice.sampler.name) if use_defaults else None


def schedule_name(name: str) -> str:
    """Our name of a schedule.

    Raises:
        SamplerUnknownError: There is no schedule of that name.
    """
    return AUTOMATIC if name.strip().lower() in _NO_SCHEDULE else resolve_sampler("Euler", name).schedule


def explicit_name(name: str | None) -> str | None:
    """The name of the second pass's sampler or schedule; None to inherit the first pass's."""
    return None if name is None or name.strip().lower() in _INHERITED_NAMES else name


def hires_sampler(
    sampler: str, scheduler: str | None, inherited: str | None, kind: PredictionProcess | None
) -> str:
    """The sampler of the second pass, with the schedule in its name.

    Args:
        sampler: A name.
        scheduler: A name; None to inherit.
        inherited: The first pass's schedule; not used with samplers that do not support it.
        kind: What the checkpoint predicts; None where that is unknown.

    Raises:
        SamplerUnknownError, SamplerIncompatibleError: As in ``samplers.resolve``.
    """
    try:
        found = select_sampler(sampler, scheduler or inherited, kind)
    except SamplerIncompatibleError:
        if scheduler:
            raise
        found = select_sampler(sampler, None, kind)
    name, schedule = found
    return f"{name} {schedule}" if schedule else str(name)


def names_match(name: object, other: object) -> bool:
    """Whether two names of samplers or of schedules are the same, or one of them is left open."""
    names = {str(each or "").strip().lower() for each in (name, other)}
    return len(names) == 1 or not names.isdisjoint(_NO_SAMPLER | _NO_SCHEDULE)


def eta_for(sampler: str | None, eta: float | None) -> float | None:
    """The eta to sample with. A1111's clients send 1 with every sampler, and deterministic samplers ignore it there.

    Args:
        sampler: Our name; None where the checkpoint decides.
        eta: As sent.

    Returns:
        The value as sent for samplers that use it; for others None, or a value that validation refuses.
    """
    row = None if sampler is None else SAMPLERS.get(sampler)
    if row is not None and row.eta is not None:
        return eta
    quiet = row is not None and not row.stochastic
    return None if quiet or eta in (None, 0, 1) else eta


def sampler_row(sampler: Sampler) -> dict[str, object]:
    """A sampler as /sdapi/v1/samplers lists it; options are texts."""
    options = {"scheduler": DEFAULT_SCHEDULES[sampler.name]} if sampler.name in DEFAULT_SCHEDULES else {}
    if sampler.calls_per_step == 2:
        options["second_order"] = "True"
    return {"name": sampler.name, "aliases": list(sampler.aliases), "options": options}


def scheduler_rows() -> list[dict[str, object]]:
    """The schedules as /sdapi/v1/schedulers lists them."""
    return [
        {
            "name": name.replace("-", "_"),
            "label": schedule_label(name),
            "aliases": [alias for alias, meant in SCHEDULE_ALIASES.items() if meant == name],
            "default_rho": 7.0 if name == "karras" else -1.0,
            "need_inner_model": name in ("normal", "sgm-uniform", "leading", "beta"),
        }
        for name in SCHEDULES
    ]
