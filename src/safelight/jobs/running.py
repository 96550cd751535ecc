"""A job while a worker does it: what it is told, and what it reports."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safelight.errors import DatabaseError
from safelight.jobs.job import Job, Progress, Signal
from safelight.logs import logger

if TYPE_CHECKING:
    from PIL import Image

    from safelight.jobs.ledger import Ledger

REPORT_EVERY, PREVIEW_EVERY = 0.2, 0.5
"""Seconds between two reports, and between two previews."""
PREVIEW_SIDE = 256


@dataclass
class Running:
    """One job on its way.

    Args:
        job: As it was claimed.
        ledger: Where it is reported.
        told: What it is told from outside.
        leaving: The worker has to go.
        cut_short: Something was left undone because of it.
    """

    job: Job
    ledger: Ledger
    told: Signal | None = None
    leaving: bool = False
    cut_short: bool = False
    _began: float = field(default_factory=time.monotonic)
    _reported: float = 0.0
    _previewed: float = 0.0

    @property
    def seconds(self) -> float:
        """For how long it has run."""
        return time.monotonic() - self._began

    @property
    def late(self) -> bool:
        """Whether it has run longer than it may."""
        return self.job.timeout is not None and self.seconds > self.job.timeout

    def should_stop(self) -> bool:
        """Whether the picture on its way is to be stopped now, for whatever reason."""
        return self.told is not None or self.leaving or self.late

    @property
    def over(self) -> bool:
        """Whether the whole job is to be stopped, and not only the picture on its way."""
        return self.leaving or self.late or self.told in (Signal.CANCEL, Signal.FINISH)

    def skipped(self) -> None:
        """The picture on its way was left; go on with the next."""
        self.ledger.clear_signal(self.job, Signal.SKIP)
        self.told = None

    def report(self, progress: Progress, preview: Callable[[], Image.Image | None] = lambda: None) -> None:
        """Tell where the job stands, as often as is worth it. A report that cannot be written is left out."""
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY and progress.fraction < 1:
            return
        self._reported, data = now, None
        if now - self._previewed >= PREVIEW_EVERY and (picture := preview()) is not None:
            self._previewed, data = now, _webp(picture)
        try:
            self.ledger.report(self.job, progress, data)
        except DatabaseError as error:
            logger(__name__).warning("progress not written", job_id=self.job.id, error=error.message)


def _webp(picture: Image.Image) -> bytes:
    from PIL import Image

    scale = PREVIEW_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()
