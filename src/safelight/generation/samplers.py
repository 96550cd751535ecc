"""Look up a sampler by name and build its solver for one run.

An unknown name, or a sampler that does not work with the checkpoint, is an error: there is no fallback to another
sampler. ``resolve`` accepts names as A1111, SD.Next and ComfyUI write them, without importing torch;
``build`` creates the solver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safelight.errors import RequestError, SamplerUnfitError, SamplerUnknownError
from safelight.generation.sampler_table import SAMPLERS, Kind, Sampler
from safelight.generation.sigmas import AUTOMATIC, DIFFUSION_SCHEDULES, EDM_SCHEDULES, FLOW_SCHEDULES, Grid

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

__all__ = ["SAMPLERS", "SCHEDULES", "Choice", "Kind", "Sampler", "build", "fit_names", "kind_of", "resolve"]

SCHEDULES: tuple[str, ...] = tuple(dict.fromkeys((*DIFFUSION_SCHEDULES, *FLOW_SCHEDULES, *EDM_SCHEDULES)))
"""Every sigma schedule by name."""

SCHEDULE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "uniform": "normal",
        "linspace": "normal",
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

_OFF: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"), False)
)
_TO_ZERO: Mapping[str, str | bool] = MappingProxyType(
    {"final_sigmas_type": "zero", "lower_order_final": True, "euler_at_final": False}
)


@dataclass(frozen=True)
class Choice:
    """A sampler with one of its sigma schedules."""

    sampler: Sampler
    schedule: str = AUTOMATIC

    def check_steps(self, steps: int, trained: int = 1000) -> None:
        """Check that the sampler supports a number of steps.

        Args:
            steps: Number of steps.
            trained: Number of timesteps the checkpoint was trained with.

        Raises:
            SamplerUnfitError: The number is below 1, or above the sampler's or the checkpoint's limit.
        """
        most = min(trained, self.sampler.max_steps or trained)
        if not 1 <= steps <= most:
            raise SamplerUnfitError(
                f"{self.sampler.name} cannot take {steps} steps with this checkpoint.",
                hint=f"Give 1 to {most} steps.",
            )


def resolve(name: str, schedule: str | None = None, kind: Kind | str = Kind.DIFFUSION) -> Choice:
    """Look up a sampler by name; the name may end with a schedule, as in "DPM++ 2M Karras".

    Args:
        name: A sampler's name or alias; case and punctuation between words are ignored.
        schedule: A sigma schedule's name; by default automatic, the checkpoint's own.
        kind: The checkpoint's kind.

    Raises:
        SamplerUnknownError: There is no such sampler, or no such schedule.
        SamplerUnfitError: The sampler does not work with the checkpoint, or the schedule not with the sampler.
    """
    kind = Kind(kind)
    given = AUTOMATIC if schedule is None else _schedule(schedule)
    rows, named = _rows(name, kind)
    fit = [sampler for sampler in rows if kind in sampler.kinds]
    if not fit:
        raise SamplerUnfitError(
            f"{rows[0].name} does not fit this checkpoint, which is of the kind {kind}.", hint=_list_fit(kind)
        )
    if AUTOMATIC not in (given, named) and given != named:
        raise SamplerUnfitError(f"The sampler {name!r} and the schedule {given!r} ask for two schedules.")
    choice = Choice(fit[0], named if given == AUTOMATIC else given)
    if choice.schedule not in choice.sampler.schedules:
        raise SamplerUnfitError(
            f"{choice.sampler.name} does not take the sigma schedule {choice.schedule!r}.",
            hint=f"It takes {', '.join(choice.sampler.schedules)}.",
        )
    return choice


def fit_names(kind: Kind | str) -> list[str]:
    """Return the names of the samplers that work with a kind of checkpoint, in the table's order."""
    return [sampler.name for sampler in SAMPLERS if Kind(kind) in sampler.kinds]


def kind_of(config: Mapping[str, Any]) -> Kind:
    """Return a checkpoint's kind, from its scheduler configuration.

    Args:
        config: The content of scheduler/scheduler_config.json.

    Raises:
        SamplerUnfitError: The scheduler is of no kind that has samplers.
    """
    return _kind(_completed(config))


def build(choice: Choice, config: Mapping[str, Any], seeds: Sequence[int]) -> SchedulerMixin:
    """Build a solver for one run; it holds the state of that run, so it must not be shared.

    Args:
        choice: From ``resolve``.
        config: The checkpoint's scheduler configuration; its betas, prediction type, spacing and shift are kept.
        seeds: One for each image of the batch, used for Brownian noise; other noise comes from the generators that are
            passed to the pipeline.

    Raises:
        SamplerUnfitError: The sampler does not support the checkpoint's kind or prediction type.
        RequestError: There is no seed.
    """
    if not seeds:
        raise RequestError("A sampler needs one seed for each picture, and none was given.")
    config = _completed(config)
    kind = _fit(choice, config)
    sampler = choice.sampler
    if kind is Kind.FLOW:
        return _build_flow(choice, config)
    solver = _solver(sampler)
    if kind is Kind.EDM:
        own = {} if choice.schedule == AUTOMATIC else {"sigma_schedule": choice.schedule}
        return solver.from_config(dict(config), **_TO_ZERO, **sampler.options, **own)
    if sampler.solver.startswith("diffusers:"):  # distilled samplers, on their own timesteps
        return solver.from_config(dict(config) | {"clip_sample": config.get("clip_sample", False)})
    return _build_diffusion(choice, config, seeds)


def check_fit(choice: Choice, config: Mapping[str, Any]) -> None:
    """Check that a sampler works with a checkpoint.

    Raises:
        SamplerUnfitError: The sampler does not support the checkpoint's kind or prediction type.
    """
    _fit(choice, _completed(config))


def _fit(choice: Choice, config: Mapping[str, Any]) -> Kind:
    """Return the checkpoint's kind after checking that the sampler supports it."""
    sampler, kind = choice.sampler, _kind(config)
    prediction = "flow_prediction" if kind is Kind.FLOW else str(config.get("prediction_type", "epsilon"))
    if kind not in sampler.kinds or prediction not in sampler.predictions:
        raise SamplerUnfitError(
            f"{sampler.name} does not fit this checkpoint, which predicts {prediction}.",
            hint=_list_fit(kind, prediction),
        )
    return kind


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the defaults of its own class, since another class would add different defaults."""
    import diffusers

    name = str(config.get("_class_name", "none"))
    own = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if own is None:
        raise SamplerUnfitError(f"No sampler is known for a checkpoint whose own scheduler is {name}.")
    whole = dict(own.from_config(dict(config)).config) | {"_class_name": name}
    whole.pop("_use_default_values", None)
    return whole


def _kind(config: Mapping[str, Any]) -> Kind:
    name = str(config["_class_name"])
    flow = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas")
    if flow or name.startswith("FlowMatch"):
        return Kind.FLOW
    if name.startswith("EDM"):
        return Kind.EDM
    if config.get("timestep_type", "discrete") != "discrete" or "beta_start" not in config:
        raise SamplerUnfitError(f"No sampler is known for a checkpoint whose own scheduler is {name}.")
    return Kind.DIFFUSION


def _build_diffusion(choice: Choice, config: Mapping[str, Any], seeds: Sequence[int]) -> SchedulerMixin:
    # With two calls per step diffusers calls its conversion to Karras sigmas, which OnDoubledGrid replaces.
    on = {"use_karras_sigmas": choice.sampler.calls == 2}
    options = {**_OFF, **_TO_ZERO, **on, "noise_sampler_seed": list(seeds), **choice.sampler.options}
    scheduler = _solver(choice.sampler).from_config(dict(config), **options)
    scheduler.grid = _grid(choice, config)
    return scheduler


def _build_flow(choice: Choice, config: Mapping[str, Any]) -> SchedulerMixin:
    from safelight.generation.flow_solvers import FlowGrid

    if config.get("invert_sigmas"):
        raise SamplerUnfitError("No sampler is known for checkpoints with inverted sigmas.")
    options = {**_OFF, **_TO_ZERO, **choice.sampler.options, "prediction_type": "flow_prediction"}
    # The grid sets the sigmas; with use_flow_sigmas on, pipelines would not pass it their own spacing.
    options |= {"use_flow_sigmas": False, "stochastic_sampling": False}
    own = dict(config) | {"shift_terminal": None}  # the grid applies it, and UniPC would refuse it
    scheduler = _solver(choice.sampler).from_config(own, **options)
    scheduler.grid = FlowGrid(config, choice.schedule, open_end=choice.sampler.open_end)
    return scheduler


def _grid(choice: Choice, config: Mapping[str, Any]) -> Grid:
    """Return the grid of a diffusion checkpoint; diffusers computes the betas, including zero terminal SNR."""
    from diffusers import EulerDiscreteScheduler

    plain = EulerDiscreteScheduler.from_config(
        dict(config), **_OFF, timestep_spacing="leading", interpolation_type="linear"
    )
    trained = plain.sigmas[:-1].flip(0).double().numpy()
    spacing = str(config.get("timestep_spacing", "linspace"))
    return Grid(
        trained, choice.schedule, spacing, int(config.get("steps_offset", 0)), choice.sampler.open_end
    )


def _solver(sampler: Sampler) -> Any:
    module, name = sampler.solver.split(":")
    return getattr(import_module(module if module == "diffusers" else f"safelight.generation.{module}"), name)


def _schedule(name: str) -> str:
    key = _key(name)
    if (found := _schedule_keys().get(key)) is None:
        raise SamplerUnknownError(
            f"There is no sigma schedule {name!r}.", hint=_did_you_mean(key, _schedule_keys(), SCHEDULES)
        )
    return found


def _rows(name: str, kind: Kind) -> tuple[tuple[Sampler, ...], str]:
    """Return the table rows of a name, and the schedule that the name ends with."""
    rows, key = _sampler_keys(), _key(name)
    if key in rows:
        return rows[key], AUTOMATIC
    for ending, schedule in _schedule_keys().items():
        if key.endswith(ending) and (found := rows.get(key.removesuffix(ending))):
            return found, schedule
    close = {key: row.name for key, found in rows.items() for row in found if kind in row.kinds}
    raise SamplerUnknownError(
        f"There is no sampler {name!r}.", hint=_did_you_mean(key, close, fit_names(kind))
    )


def _key(name: str) -> str:
    """Normalize a name: remove case, spaces, dashes, underscores, API prefixes and spelling variants."""
    text = re.sub(r"^(sample_|k_|k-diffusion[ _])", "", name.strip().lower())
    text = re.sub(r"[\s_\-]+", "", text).removesuffix("gpu")
    return text.replace("dpmpp", "dpm++").replace("ancestral", "a")


@cache
def _sampler_keys() -> Mapping[str, tuple[Sampler, ...]]:
    """Return the table rows by normalized name or alias."""
    keys: dict[str, tuple[Sampler, ...]] = {}
    for sampler in SAMPLERS:
        for name in dict.fromkeys(_key(each) for each in (sampler.name, *sampler.aliases)):
            keys[name] = (*keys.get(name, ()), sampler)
    return MappingProxyType(keys)


@cache
def _schedule_keys() -> Mapping[str, str]:
    return MappingProxyType(
        {_key(name): SCHEDULE_ALIASES.get(name, name) for name in (*SCHEDULES, *SCHEDULE_ALIASES)}
    )


def _did_you_mean(key: str, close: Mapping[str, str], names: Sequence[str]) -> str:
    likely = dict.fromkeys(close[each] for each in get_close_matches(key, close, n=3, cutoff=0.6))
    start = f"Did you mean {' or '.join(likely)}? " if likely else ""
    return f"{start}There are {', '.join(names)}."


def _list_fit(kind: Kind, prediction: str | None = None) -> str:
    names = (
        s.name for s in SAMPLERS if kind in s.kinds and (prediction is None or prediction in s.predictions)
    )
    return f"These fit: {', '.join(names)}."
