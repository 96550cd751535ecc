"""Look up a sampler by name and build its solver for one run.

An unknown name, or a sampler that does not work with the checkpoint, is an error: there is no fallback to another
sampler. ``resolve_sampler`` accepts names as A1111, SD.Next and ComfyUI write them, without importing torch;
``build_scheduler`` creates the solver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safelight.errors import RequestError, SamplerIncompatibleError, SamplerUnknownError
from safelight.generation.solvers.registry import SAMPLERS, PredictionProcess, Sampler
from safelight.generation.solvers.sigmas import (
    AUTOMATIC,
    DIFFUSION_SCHEDULES,
    EDM_SCHEDULES,
    FLOW_SCHEDULES,
    SigmaGrid,
)

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "SCHEDULE_ALIASES",
    "PredictionProcess",
    "Sampler",
    "SamplerChoice",
    "build_scheduler",
    "compatible_names",
    "prediction_process_of",
    "resolve_sampler",
    "schedule_label",
]

SCHEDULES: tuple[str, ...] = tuple(dict.fromkeys((*DIFFUSION_SCHEDULES, *FLOW_SCHEDULES, *EDM_SCHEDULES)))
"""Every sigma schedule by name."""

SCHEDULE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "uniform": "normal",
        "linspace": "normal",
        "ddim": "leading",
        "ddim uniform": "leading",
        "trailing": "sgm-uniform",
        "simple": "sgm-uniform",
        "polyexponential": "exponential",  # with rho 1, as in A1111
        "lu": "exponential",
        "lambdas": "exponential",
        "ka": "karras",  # as in A1111's k_dpmpp_2m_ka
        "exp": "exponential",
        "default": AUTOMATIC,
    }
)
"""Other names of the sigma schedules."""
SCHEDULE_LABELS: Mapping[str, str] = MappingProxyType(
    {"sgm-uniform": "SGM Uniform", "kl-optimal": "KL Optimal"}
)
"""Labels in A1111's API and in infotexts that ``schedule_label`` does not derive from the name."""

_SIGMA_OPTIONS_OFF: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"), False)
)
_FINAL_SIGMA_ZERO: Mapping[str, str | bool] = MappingProxyType(
    {"final_sigmas_type": "zero", "lower_order_final": True, "euler_at_final": False}
)


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler with one of its sigma schedules."""

    sampler: Sampler
    schedule: str = AUTOMATIC

    def check_steps(self, steps: int, trained_timesteps: int = 1000) -> None:
        """Check that the sampler supports a number of steps.

        Args:
            steps: Number of steps.
            trained_timesteps: Number of timesteps the checkpoint was trained with.

        Raises:
            SamplerIncompatibleError: The number is below 1, or above the sampler's or the checkpoint's limit.
        """
        most = min(trained_timesteps, self.sampler.max_steps or trained_timesteps)
        if not 1 <= steps <= most:
            raise SamplerIncompatibleError(
                f"{self.sampler.name} cannot take {steps} steps with this checkpoint.",
                hint=f"Give 1 to {most} steps.",
                field="steps",
                context={"minimum": 1, "maximum": most},
            )


def resolve_sampler(
    name: str,
    schedule: str | None = None,
    prediction_process: PredictionProcess | str = PredictionProcess.DIFFUSION,
) -> SamplerChoice:
    """Look up a sampler by name; the name may end with a schedule, as in "DPM++ 2M Karras".

    Args:
        name: A sampler's name or alias; case and punctuation between words are ignored.
        schedule: A sigma schedule's name; by default automatic, the checkpoint's own.
        prediction_process: The checkpoint's kind.

    Raises:
        SamplerUnknownError: There is no such sampler, or no such schedule.
        SamplerIncompatibleError: The sampler does not work with the checkpoint, or the schedule not with the sampler.
    """
    prediction_process = PredictionProcess(prediction_process)
    given = AUTOMATIC if schedule is None else _resolve_schedule(schedule)
    rows, named = _find_samplers(name, prediction_process)
    fit = [sampler for sampler in rows if prediction_process in sampler.prediction_processes]
    if not fit:
        raise SamplerIncompatibleError(
            f"{rows[0].name} does not fit this checkpoint, which is of the kind {prediction_process}.",
            hint=_compatible_hint(prediction_process),
            context={"name": rows[0].name, "choices": compatible_names(prediction_process)},
        )
    if AUTOMATIC not in (given, named) and given != named:
        raise SamplerIncompatibleError(
            f"The sampler {name!r} and the schedule {given!r} ask for two schedules.", field="schedule"
        )
    choice = SamplerChoice(fit[0], named if given == AUTOMATIC else given)
    if choice.schedule not in choice.sampler.schedules:
        raise SamplerIncompatibleError(
            f"{choice.sampler.name} does not take the sigma schedule {choice.schedule!r}.",
            hint=f"It takes {', '.join(choice.sampler.schedules)}.",
            field="schedule",
            context={"name": choice.schedule, "choices": list(choice.sampler.schedules)},
        )
    return choice


def schedule_label(name: str) -> str:
    """Return a sigma schedule's label in A1111's API and in infotexts; ``resolve_sampler`` accepts it as its name."""
    return SCHEDULE_LABELS.get(name, name.replace("-", " ").title())


def compatible_names(prediction_process: PredictionProcess | str) -> list[str]:
    """Return the names of the samplers that work with a kind of checkpoint, in the table's order."""
    return [
        sampler.name
        for sampler in SAMPLERS.values()
        if PredictionProcess(prediction_process) in sampler.prediction_processes
    ]


def prediction_process_of(config: Mapping[str, Any]) -> PredictionProcess:
    """Return a checkpoint's kind, from its scheduler configuration.

    Args:
        config: The content of scheduler/scheduler_config.json.

    Raises:
        SamplerIncompatibleError: The scheduler is of no kind that has samplers.
    """
    return _detect_process(_with_defaults(config))


def build_scheduler(choice: SamplerChoice, config: Mapping[str, Any], seeds: Sequence[int]) -> SchedulerMixin:
    """Build a solver for one run; it holds the state of that run, so it must not be shared.

    Args:
        choice: From ``resolve_sampler``.
        config: The checkpoint's scheduler configuration; its betas, prediction type, spacing and shift are kept.
        seeds: One for each image of the batch, used for Brownian noise; other noise comes from the generators that are
            passed to the pipeline.

    Raises:
        SamplerIncompatibleError: The sampler does not support the checkpoint's kind or prediction type.
        RequestError: There is no seed.
    """
    if not seeds:
        raise RequestError("A sampler needs one seed for each picture, and none was given.")
    config = _with_defaults(config)
    kind = _check_fit(choice, config)
    sampler = choice.sampler
    if kind is PredictionProcess.FLOW:
        return _build_flow_scheduler(choice, config)
    solver = _solver_class(sampler)
    if kind is PredictionProcess.TRIGFLOW:
        return solver.from_config(dict(config))
    if kind is PredictionProcess.EDM:
        own = {} if choice.schedule == AUTOMATIC else {"sigma_schedule": choice.schedule}
        return solver.from_config(dict(config), **_FINAL_SIGMA_ZERO, **sampler.options, **own)
    if sampler.solver.startswith("diffusers:"):  # distilled samplers, on their own timesteps
        return solver.from_config(dict(config) | {"clip_sample": config.get("clip_sample", False)})
    return _build_diffusion_scheduler(choice, config, seeds)


def check_compatible(choice: SamplerChoice, config: Mapping[str, Any]) -> None:
    """Check that a sampler works with a checkpoint.

    Raises:
        SamplerIncompatibleError: The sampler does not support the checkpoint's kind or prediction type.
    """
    _check_fit(choice, _with_defaults(config))


def _check_fit(choice: SamplerChoice, config: Mapping[str, Any]) -> PredictionProcess:
    """Return the checkpoint's kind after checking that the sampler supports it."""
    sampler, kind = choice.sampler, _detect_process(config)
    prediction = (
        "flow_prediction" if kind is PredictionProcess.FLOW else str(config.get("prediction_type", "epsilon"))
    )
    if kind not in sampler.prediction_processes or prediction not in sampler.prediction_types:
        raise SamplerIncompatibleError(
            f"{sampler.name} does not fit this checkpoint, which predicts {prediction}.",
            hint=_compatible_hint(kind, prediction),
        )
    return kind


def _with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the defaults of its own class, since another class would add different defaults."""
    import diffusers

    name = str(config.get("_class_name", "none"))
    own = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if own is None:
        raise SamplerIncompatibleError(f"No sampler is known for a checkpoint whose own scheduler is {name}.")
    whole = dict(own.from_config(dict(config)).config) | {"_class_name": name}
    whole.pop("_use_default_values", None)
    return whole


def _detect_process(config: Mapping[str, Any]) -> PredictionProcess:
    name = str(config["_class_name"])
    flow = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas")
    if flow or name.startswith("FlowMatch"):
        return PredictionProcess.FLOW
    if name.startswith("EDM"):
        return PredictionProcess.EDM
    if config.get("prediction_type") == "trigflow":
        return PredictionProcess.TRIGFLOW
    if config.get("timestep_type", "discrete") != "discrete" or "beta_start" not in config:
        raise SamplerIncompatibleError(f"No sampler is known for a checkpoint whose own scheduler is {name}.")
    return PredictionProcess.DIFFUSION


def _build_diffusion_scheduler(
    choice: SamplerChoice, config: Mapping[str, Any], seeds: Sequence[int]
) -> SchedulerMixin:
    # With two calls per step diffusers calls its conversion to Karras sigmas, which TwoCallGridMixin replaces.
    on = {"use_karras_sigmas": choice.sampler.calls_per_step == 2}
    options = {
        **_SIGMA_OPTIONS_OFF,
        **_FINAL_SIGMA_ZERO,
        **on,
        "noise_sampler_seed": list(seeds),
        **choice.sampler.options,
    }
    scheduler = _solver_class(choice.sampler).from_config(dict(config), **options)
    scheduler.grid = _diffusion_grid(choice, config)
    return scheduler


def _build_flow_scheduler(choice: SamplerChoice, config: Mapping[str, Any]) -> SchedulerMixin:
    from safelight.generation.solvers.flow import FlowGrid

    if config.get("invert_sigmas"):
        raise SamplerIncompatibleError("No sampler is known for checkpoints with inverted sigmas.")
    options = {
        **_SIGMA_OPTIONS_OFF,
        **_FINAL_SIGMA_ZERO,
        **choice.sampler.options,
        "prediction_type": "flow_prediction",
    }
    # The grid sets the sigmas; with use_flow_sigmas on, pipelines would not pass it their own spacing.
    options |= {"use_flow_sigmas": False, "stochastic_sampling": False}
    own = dict(config) | {"shift_terminal": None}  # the grid applies it, and UniPC would refuse it
    scheduler = _solver_class(choice.sampler).from_config(own, **options)
    scheduler.grid = FlowGrid(config, choice.schedule, open_end=choice.sampler.open_end)
    return scheduler


def _diffusion_grid(choice: SamplerChoice, config: Mapping[str, Any]) -> SigmaGrid:
    """Return the grid of a diffusion checkpoint; diffusers computes the betas, including zero terminal SNR."""
    from diffusers import EulerDiscreteScheduler

    plain = EulerDiscreteScheduler.from_config(
        dict(config), **_SIGMA_OPTIONS_OFF, timestep_spacing="leading", interpolation_type="linear"
    )
    trained = plain.sigmas[:-1].flip(0).double().numpy()
    spacing = str(config.get("timestep_spacing", "linspace"))
    return SigmaGrid(
        trained, choice.schedule, spacing, int(config.get("steps_offset", 0)), choice.sampler.open_end
    )


def check_sampler_names(sampler: str | None, schedule: str | None) -> None:
    """Raise unless there are a sampler and a sigma schedule of these names, for whatever checkpoint.

    Raises:
        SamplerUnknownError: There is none.
    """
    if sampler is not None:
        _find_samplers(sampler, PredictionProcess.DIFFUSION)
    if schedule is not None:
        _resolve_schedule(schedule)


def _solver_class(sampler: Sampler) -> Any:
    module, name = sampler.solver.split(":")
    return getattr(import_module(module, package=__package__), name)


def _resolve_schedule(name: str) -> str:
    key = _normalize_name(name)
    if (found := _schedules_by_key().get(key)) is None:
        raise SamplerUnknownError(
            f"There is no sigma schedule {name!r}.",
            hint=_did_you_mean(key, _schedules_by_key(), SCHEDULES),
            field="schedule",
            context={"name": name},
        )
    return found


def _find_samplers(name: str, prediction_process: PredictionProcess) -> tuple[tuple[Sampler, ...], str]:
    """Return the samplers of a name, and the schedule that the name ends with."""
    rows, key = _samplers_by_key(tuple(SAMPLERS.values())), _normalize_name(name)
    if key in rows:
        return rows[key], AUTOMATIC
    for ending, schedule in _schedules_by_key().items():
        if key.endswith(ending) and (found := rows.get(key.removesuffix(ending))):
            return found, schedule
    close = {
        key: row.name
        for key, found in rows.items()
        for row in found
        if prediction_process in row.prediction_processes
    }
    raise SamplerUnknownError(
        f"There is no sampler {name!r}.",
        hint=_did_you_mean(key, close, compatible_names(prediction_process)),
        context={"name": name},
    )


def _normalize_name(name: str) -> str:
    """Normalize a name: remove case, spaces, dashes, underscores, API prefixes and spelling variants."""
    text = re.sub(r"^(sample_|k_|k-diffusion[ _])", "", name.strip().lower())
    text = re.sub(r"[\s_\-]+", "", text).removesuffix("gpu")
    return text.replace("dpmpp", "dpm++").replace("ancestral", "a")


@lru_cache(maxsize=1)
def _samplers_by_key(samplers: tuple[Sampler, ...]) -> Mapping[str, tuple[Sampler, ...]]:
    """Return the samplers by normalized name or alias."""
    keys: dict[str, tuple[Sampler, ...]] = {}
    for sampler in samplers:
        for name in dict.fromkeys(_normalize_name(each) for each in (sampler.name, *sampler.aliases)):
            keys[name] = (*keys.get(name, ()), sampler)
    return MappingProxyType(keys)


@cache
def _schedules_by_key() -> Mapping[str, str]:
    return MappingProxyType(
        {_normalize_name(name): SCHEDULE_ALIASES.get(name, name) for name in (*SCHEDULES, *SCHEDULE_ALIASES)}
    )


def _did_you_mean(key: str, close: Mapping[str, str], names: Sequence[str]) -> str:
    likely = dict.fromkeys(close[each] for each in get_close_matches(key, close, n=3, cutoff=0.6))
    start = f"Did you mean {' or '.join(likely)}? " if likely else ""
    return f"{start}There are {', '.join(names)}."


def _compatible_hint(prediction_process: PredictionProcess, prediction: str | None = None) -> str:
    names = (
        s.name
        for s in SAMPLERS.values()
        if prediction_process in s.prediction_processes
        and (prediction is None or prediction in s.prediction_types)
    )
    return f"These fit: {', '.join(names)}."
