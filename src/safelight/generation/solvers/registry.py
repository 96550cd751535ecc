"""What a sampler is, and the registry of samplers. It imports no solver, so samplers can be listed without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypedDict

from safelight.errors import SamplerUnknownError
from safelight.generation.solvers.sigmas import DIFFUSION_SCHEDULES
from safelight.plugins import Registry

Option = str | int | float | bool
NO_OPTIONS: Mapping[str, Option] = MappingProxyType({})
ALL_PREDICTION_TYPES = frozenset({"epsilon", "v_prediction", "sample"})


class PredictionProcess(StrEnum):
    """The formulation a checkpoint was trained with, which determines the samplers that work with it."""

    DIFFUSION = "diffusion"
    FLOW = "flow"
    EDM = "edm"
    TRIGFLOW = "trigflow"


class SamplerInfo(TypedDict):
    """A sampler's entry in JSON output."""

    name: str
    aliases: list[str]
    kinds: list[PredictionProcess]
    schedules: list[str]
    predictions: list[str]
    eta: float | None
    stochastic: bool
    calls_per_step: int
    max_steps: int | None
    note: str


@dataclass(frozen=True)
class Sampler:
    """A sampler: a solver class with its options.

    Args:
        name: The name that A1111 and SD.Next use.
        solver: Module and class, as in "package.module:Class"; a module that begins with a dot is one of this package.
        aliases: Other names; case, spaces, dashes, underscores and A1111's prefix ``k_`` are ignored.
        prediction_processes: The kinds of checkpoint it works with.
        schedules: The sigma schedules it supports, the default first.
        options: Settings of the solver's configuration.
        prediction_types: The prediction types it supports.
        eta: The default eta, or None if it has no eta.
        stochastic: Whether it adds noise during sampling (at its default eta).
        calls_per_step: Network calls per step; if it is 2, the last step needs only one.
        max_steps: The largest number of steps, or None if only the checkpoint limits it.
        open_end: Whether evenly spaced schedules stop one level early (see ``sigmas.SigmaGrid``).
        note: A hint for users who choose a sampler.
    """

    name: str
    solver: str
    aliases: tuple[str, ...] = ()
    prediction_processes: frozenset[PredictionProcess] = frozenset({PredictionProcess.DIFFUSION})
    schedules: tuple[str, ...] = DIFFUSION_SCHEDULES
    options: Mapping[str, Option] = field(default_factory=lambda: NO_OPTIONS, hash=False)
    prediction_types: frozenset[str] = ALL_PREDICTION_TYPES
    eta: float | None = None
    stochastic: bool = False
    calls_per_step: int = 1
    max_steps: int | None = None
    open_end: bool = False
    note: str = ""

    def to_dict(self) -> SamplerInfo:
        """Return the sampler's entry for JSON output."""
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "kinds": sorted(self.prediction_processes),
            "schedules": list(self.schedules),
            "predictions": sorted(self.prediction_types),
            "eta": self.eta,
            "stochastic": self.stochastic,
            "calls_per_step": self.calls_per_step,
            "max_steps": self.max_steps,
            "note": self.note,
        }


SAMPLERS = Registry[Sampler](
    "sampler",
    "register_samplers",
    SamplerUnknownError,
    ("safelight.generation.solvers.builtin",),
    name_field="name",
)
"""Every sampler by name; aliases, and names with a schedule, are resolved by ``samplers.resolve_sampler``."""
