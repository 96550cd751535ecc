"""How far a request is: stages, progress, and the callbacks of whoever follows it. No torch import here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


class Stage(StrEnum):
    """What is done to a picture; the values travel in events and in records' notes."""

    FIRST_PASS = "first pass"  # noqa: S105  no password
    UPSCALING = "upscaling"
    SECOND_PASS = "second pass"  # noqa: S105


@dataclass(frozen=True)
class Progress:
    """How far a request is.

    Args:
        picture: Index of the picture that is being generated, from 0.
        count: How many pictures were asked for.
        stage: What is done to it.
        step: Steps done of this stage.
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
        """Share of the whole request that is done, 0 to 1.

        Args:
            hires: Whether the request has a second pass; each pass then counts half of a picture.
        """
        share = self.step / max(self.steps, 1)
        if hires:
            share = {Stage.FIRST_PASS: share / 2, Stage.UPSCALING: 0.5}.get(self.stage, 0.5 + share / 2)
        return min(1.0, (self.picture + share) / self.count)


@dataclass(frozen=True)
class Watcher:
    """Callbacks of whoever follows a request.

    Args:
        on_progress: Called after each step. It may take its time: other requests go on meanwhile.
        should_stop: Asked before each picture, before each call of a network and after each step; True ends the run.
            It has to answer at once.
        keep_partial: When stopped between two steps, also return the unfinished picture. That is not possible for a
            picture whose first pass ends with latents (the hires upscaler latent), nor with checkpoints whose
            pipelines cannot be interrupted (AuraFlow, Lumina Image 2, PixArt): StoppedError is raised.
        should_pause: Asked after each step; while it is True the picture waits, and other requests go on. Its pixels
            do not change by that. It has to answer at once.
        on_pause: Called with True when the picture begins to wait, and with False when it goes on.
    """

    on_progress: Callable[[Progress], None] = lambda _progress: None
    should_stop: Callable[[], bool] = lambda: False
    keep_partial: bool = False
    should_pause: Callable[[], bool] = lambda: False
    on_pause: Callable[[bool], None] = lambda _waits: None
