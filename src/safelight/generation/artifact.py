"""What a run gives: one picture with the record of how it was made."""

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
        seconds: What generating it took, without loading the checkpoint; pictures that were generated together share
            the time.
        index: Which picture of its request it is, from 0.
        stopped_at: The step after which it was stopped; None for a finished picture.
    """

    image: Image.Image
    record: ReproductionRecord
    seconds: float
    index: int = 0
    stopped_at: int | None = None
