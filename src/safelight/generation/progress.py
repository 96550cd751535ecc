"""The progress of a request: stages, progress reports and callbacks. No torch import here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


class Stage(StrEnum):
    """A stage of generating a picture; the values appear in events and in notes of records."""

    FIRST_PASS = "first pass"  # noqa: S105  no password
    REFINER = "refiner"
    UPSCALING = "upscaling"
    SECOND_PASS = "second pass"  # noqa: S105


@dataclass(frozen=True)
class RunProgress:
    """The progress of a request.

    Args:
        picture: Index of the picture that is being generated, from 0.
        count: The number of requested pictures.
        stage: The current stage.
        step: Completed steps of this stage.
        steps: Steps of this stage.
        preview: Makes a small picture of the current state, in the size of the latents; None while upscaling.
    """

    picture: int
    count: int
    stage: Stage
    step: int
    steps: int
    preview: Callable[[], Image.Image | None] = lambda: None

    def fraction(self, *, hires: bool) -> float:
        """The completed fraction of the whole request, 0 to 1.

        Args:
            hires: Whether the request has a second pass; each pass then counts half of a picture.
        """
        fraction = self.step / max(self.steps, 1)
        if hires:
            first = self.stage in (Stage.FIRST_PASS, Stage.REFINER)
            fraction = 0.5 if self.stage is Stage.UPSCALING else (fraction if first else 1 + fraction) / 2
        return min(1.0, (self.picture + fraction) / self.count)


@dataclass(frozen=True)
class Watcher:
    """Callbacks of a request.

    Args:
        on_progress: Called after each step. It may take time: other requests continue meanwhile.
        should_stop: Called before each picture, before each call of a network and after each step; True ends the run.
            It has to return at once.
        keep_partial: When stopped between two steps, also return the unfinished picture. That is not possible for a
            picture whose first pass ends with latents (the hires upscaler latent), nor with checkpoints whose
            pipelines cannot be interrupted (AuraFlow, Lumina Image 2, PixArt): RunStoppedError is raised.
        should_pause: Called after each step; while it returns True the picture waits, and other requests continue.
            The picture's pixels do not change because of it. It has to return at once.
        on_pause: Called with True when the picture starts to wait, and with False when it continues.
    """

    on_progress: Callable[[RunProgress], None] = lambda _progress: None
    should_stop: Callable[[], bool] = lambda: False
    keep_partial: bool = False
    should_pause: Callable[[], bool] = lambda: False
    on_pause: Callable[[bool], None] = lambda _waits: None
