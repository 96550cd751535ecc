"""The result of a run: a picture with its reproduction record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from safelight.generation.record import ReproductionRecord


@dataclass(frozen=True)
class Artifact:
    """One generated picture, before moderation.

    Args:
        image: RGB.
        record: How it was made.
        seconds: The time to generate it, without loading the checkpoint; batched pictures share the time.
        index: Which picture of its request it is, from 0.
        stopped_at: The step after which it was stopped; None for a finished picture.
    """

    image: Image.Image
    record: ReproductionRecord
    seconds: float
    index: int = 0
    stopped_at: int | None = None
