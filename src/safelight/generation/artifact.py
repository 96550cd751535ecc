"""The result of a run: a picture with its reproduction record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from safelight.generation.record import ReproductionRecord
    from safelight.runtime.memory_plan.planner import MemoryPlan


TEXT_STAGE = "text encoders"
"""The stage of all text encoders, which are measured together."""
_OTHER_STAGES = ("encode", "denoise", "decode")


@dataclass(frozen=True)
class MemoryUse:
    """The memory that a picture took.

    Args:
        plan: As it was planned; None where all networks and the picture certainly fitted.
        measured: The most bytes on the denoiser's device by stage: text encoders, encode, denoise, decode; empty where
            they cannot be measured.
    """

    plan: MemoryPlan | None
    measured: Mapping[str, int]

    def by_stage(self) -> dict[str, tuple[int | None, int | None]]:
        """The most bytes of each stage as planned and as measured; all text encoders are one stage, as measured."""
        planned: dict[str, int] = {}
        for stage in () if self.plan is None else self.plan.own_stages:
            name = stage.name if stage.name in _OTHER_STAGES else TEXT_STAGE
            planned[name] = max(planned.get(name, 0), stage.peak)
        names = (TEXT_STAGE, *_OTHER_STAGES)
        return {
            name: (planned.get(name), self.measured.get(name))
            for name in names
            if name in planned or name in self.measured
        }

    def to_dict(self) -> dict[str, object]:
        """For JSON output: the steps taken to fit it, and the most bytes by stage, as planned and as measured."""
        stages = () if self.plan is None else self.plan.stages
        return {
            "steps": [] if self.plan is None else list(self.plan.steps),
            "planned": {stage.name: stage.peak for stage in stages},
            "measured": dict(self.measured),
        }


@dataclass(frozen=True)
class Artifact:
    """One generated picture, before moderation.

    Args:
        image: RGB.
        record: How it was made.
        seconds: The time to generate it, without loading the checkpoint; batched pictures share the time.
        index: Which picture of its request it is, from 0.
        stopped_at: The step after which it was stopped; None for a finished picture.
        memory: The memory that it took; None if it was not generated here.
    """

    image: Image.Image
    record: ReproductionRecord
    seconds: float
    index: int = 0
    stopped_at: int | None = None
    memory: MemoryUse | None = None
