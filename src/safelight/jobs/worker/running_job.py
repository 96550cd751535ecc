"""A job while a worker does it: what it is told, and what it reports."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from safelight.errors import DatabaseError, RunStoppedError, StorageFullError
from safelight.jobs.job import PAUSED, Job, JobStage, Progress, Signal
from safelight.jobs.progress_writer import ProgressWriter
from safelight.jobs.retry import retry_transient
from safelight.logs import get_logger

if TYPE_CHECKING:
    from PIL import Image

    from safelight.jobs.queue.store import JobStore

REPORT_EVERY, PREVIEW_EVERY = 0.2, 0.5
"""Seconds between two reports, and between two previews."""
PREVIEW_SIDE = 256
PAUSE = 0.05
"""Seconds between two looks whether a job that pauses may go on."""

Result = TypeVar("Result")


@dataclass(eq=False)
class RunningJob:
    """One job on its way.

    Args:
        job: As it was claimed.
        ledger: Where it is reported.
        told: What it is told from outside.
        leaving: The worker has to go.
        cut_short: Something was left undone because of it.
        partial: Not all of it was done in this time: something was skipped, or was there from an earlier attempt.
        skips: How many skips were followed.
        paused: It is to wait while others are done.
        most_seconds: How long any job may run.
    """

    job: Job
    ledger: JobStore
    told: Signal | None = None
    leaving: bool = False
    cut_short: bool = False
    partial: bool = False
    skips: int = 0
    paused: bool = False
    most_seconds: float = math.inf
    _mind: threading.Lock = field(default_factory=threading.Lock)
    _began: float = field(default_factory=time.monotonic)
    _reported: float = 0.0
    _previewed: float = field(default_factory=time.monotonic)  # short jobs need none
    _got_on: bool = False
    _waited: float = 0.0
    _waits_since: float | None = None
    _last: Progress | None = None
    _writer: ProgressWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = ProgressWriter(self._write)

    @property
    def seconds(self) -> float:
        """For how long it has run, without its pauses."""
        end = time.monotonic() if self._waits_since is None else self._waits_since
        return end - self._began - self._waited

    @property
    def limit(self) -> float:
        """Seconds that it may run."""
        return min(self.most_seconds, self.job.timeout or math.inf)

    @property
    def late(self) -> bool:
        """Whether it has run longer than it may."""
        return self.seconds > self.limit

    @property
    def suspect(self) -> bool:
        """Whether it may have killed the worker that it lost: nothing has come of it since."""
        return self.job.lost > 0 and not self._got_on

    def should_stop(self) -> bool:
        """Whether the picture on its way is to be stopped now, for whatever reason."""
        return self.told is not None or self.leaving or self.late

    @property
    def unwanted(self) -> bool:
        """Whether nobody wants any more of it now, not even what could be made of the picture on its way."""
        return self.leaving or self.late or self.told is Signal.CANCEL

    @property
    def over(self) -> bool:
        """Whether the whole job is to be stopped, and not only the picture on its way."""
        return self.unwanted or self.told is Signal.FINISH

    def hear(self, signal: Signal | None, skips: int) -> None:
        """Take note of what the job is told; cancelling counts whatever was said before.

        Args:
            signal: As it was read.
            skips: As it was before that: a skip which has been followed meanwhile is not followed again.
        """
        with self._mind:
            stale = signal is Signal.SKIP and skips != self.skips
            if signal is not None and not stale and signal.outdoes(self.told):
                self.told = signal

    def skipped(self) -> None:
        """The picture on its way was left; go on with the next.

        Raises:
            RunStoppedError, DatabaseError: As in ``retry_transient``.
        """
        self.partial = True
        self.patiently(lambda: self.ledger.clear_signal(self.job, Signal.SKIP))
        with self._mind:
            self.skips += 1
            if self.told is Signal.SKIP:
                self.told = None

    def got_on(self) -> None:
        """A picture is in the gallery: that workers were lost before it does not count any more.

        Raises:
            RunStoppedError, DatabaseError: As in ``retry_transient``.
        """
        if self.job.lost and not self._got_on:
            self.patiently(lambda: self.ledger.got_on(self.job))
            self._got_on = True

    def patiently(self, do: Callable[[], Result]) -> Result:
        """Use the database, and wait while it cannot be used; returns what came of it.

        Raises:
            RunStoppedError: The job was unwanted before the database was back.
            DatabaseError: Waiting does not help.
        """
        try:
            return retry_transient(do, lambda: self.unwanted, waiting=self._say_waiting)
        except DatabaseError as error:
            if not self.unwanted:
                raise
            self.cut_short = True
            raise RunStoppedError from error

    def pause(self) -> None:
        """Wait while others are done; called between two parts of the work, where nothing is held that they need."""
        if not self.paused or self.should_stop():
            return
        self.on_pause(True)
        try:
            while self.paused and not self.should_stop():
                time.sleep(PAUSE)
        finally:
            self.on_pause(False)

    def on_pause(self, waits: bool) -> None:
        """It begins to wait, or goes on."""
        now = time.monotonic()
        if waits:
            self._waits_since = now
            if self._last is not None:
                self._writer.put(self._last.model_copy(update={"stage": PAUSED}))
            return
        assert self._waits_since is not None
        self._waited += now - self._waits_since
        self._waits_since, self._reported = None, 0.0  # the next step is reported at once

    def _say_waiting(self, error: DatabaseError) -> None:
        """Let the job's progress say why it does not go on, where that can be written."""
        full = isinstance(error, StorageFullError)
        stage = JobStage.WAITING_FOR_DISK if full else JobStage.WAITING_FOR_DATABASE
        self._reported = 0.0
        self.report((self._last or Progress(stage=stage)).model_copy(update={"stage": stage}))

    def report(self, progress: Progress, preview: Callable[[], Image.Image | None] = lambda: None) -> None:
        """Let others see where the job stands, as often as is worth it, without waiting for the database.

        A report that cannot be written is left out, and of several that wait only the last is written.
        """
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY and progress.fraction < 1:
            return
        self._reported, picture = now, None
        self._last = progress = progress.model_copy(update={"seconds": round(self.seconds, 3)})
        if now - self._previewed >= PREVIEW_EVERY and (picture := preview()) is not None:
            self._previewed = now
        self._writer.put(progress, picture)

    def flush(self) -> None:
        """Wait until what was reported is written: the job is about to end."""
        self._writer.flush()

    def _write(self, progress: Progress, preview: Image.Image | None) -> None:
        try:
            self.ledger.report(self.job, progress, None if preview is None else _webp(preview))
        except DatabaseError as error:
            get_logger(__name__).warning("progress not written", job_id=self.job.id, error=error.message)


def _webp(picture: Image.Image) -> bytes:
    from PIL import Image

    scale = PREVIEW_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()
