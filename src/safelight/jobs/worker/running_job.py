"""The state of a job while a worker runs it: its signal, its pauses and its progress."""

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
"""Seconds between two checks whether a paused job may continue."""

ResultT = TypeVar("ResultT")


@dataclass(eq=False)
class RunningJob:
    """A running job.

    Args:
        job: As it was claimed.
        ledger: Where progress is reported.
        told: The signal that it has received.
        leaving: Whether the worker is stopping.
        cut_short: Whether work was left undone because the job was stopped.
        partial: Whether this attempt did only part of the work: something was skipped, or kept from an earlier
            attempt.
        skips: How many SKIP signals it has followed.
        paused: Whether it is to wait while other jobs run.
        most_seconds: Time limit for every job, in seconds.
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
    _previewed: float = field(default_factory=time.monotonic)  # short jobs need no preview
    _got_on: bool = False
    _waited: float = 0.0
    _waits_since: float | None = None
    _last: Progress | None = None
    _writer: ProgressWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = ProgressWriter(self._write)

    @property
    def seconds(self) -> float:
        """How long it has run, without pauses."""
        end = time.monotonic() if self._waits_since is None else self._waits_since
        return end - self._began - self._waited

    @property
    def limit(self) -> float:
        """The job's time limit, in seconds."""
        return min(self.most_seconds, self.job.timeout or math.inf)

    @property
    def late(self) -> bool:
        """Whether it has exceeded its time limit."""
        return self.seconds > self.limit

    @property
    def suspect(self) -> bool:
        """Whether it may have caused the loss of its last worker: it has made no progress since."""
        return self.job.lost > 0 and not self._got_on

    def should_stop(self) -> bool:
        """Whether the current picture is to be stopped now, for any reason."""
        return self.told is not None or self.leaving or self.late

    @property
    def unwanted(self) -> bool:
        """Whether the job is to be stopped at once, without keeping the current picture."""
        return self.leaving or self.late or self.told is Signal.CANCEL

    @property
    def over(self) -> bool:
        """Whether the whole job is to be stopped, and not only the current picture."""
        return self.unwanted or self.told is Signal.FINISH

    def hear(self, signal: Signal | None, skips: int) -> None:
        """Receive a signal; it replaces an earlier one that it overrides.

        Args:
            signal: The signal that was read.
            skips: The number of skips before it was read: a skip that was followed meanwhile is not followed again.
        """
        with self._mind:
            stale = signal is Signal.SKIP and skips != self.skips
            if signal is not None and not stale and signal.outdoes(self.told):
                self.told = signal

    def skipped(self) -> None:
        """Record that the current picture was skipped, and clear the signal.

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
        """Record that a picture is in the gallery: workers lost before no longer count.

        Raises:
            RunStoppedError, DatabaseError: As in ``retry_transient``.
        """
        if self.job.lost and not self._got_on:
            self.patiently(lambda: self.ledger.got_on(self.job))
            self._got_on = True

    def patiently(self, do: Callable[[], ResultT]) -> ResultT:
        """Run a database operation with retries; returns its result.

        Raises:
            RunStoppedError: The job was aborted before the operation succeeded.
            DatabaseError: The error is permanent.
        """
        try:
            return retry_transient(do, lambda: self.unwanted, waiting=self._say_waiting)
        except DatabaseError as error:
            if not self.unwanted:
                raise
            self.cut_short = True
            raise RunStoppedError from error

    def pause(self) -> None:
        """Wait while the job is paused. Called between parts of the work, where it holds nothing other jobs need."""
        if not self.paused or self.should_stop():
            return
        self.on_pause(True)
        try:
            while self.paused and not self.should_stop():
                time.sleep(PAUSE)
        finally:
            self.on_pause(False)

    def on_pause(self, waits: bool) -> None:
        """Record that the job begins to wait, or that it continues."""
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
        """Report the reason of the wait as the job's stage, where that can be written."""
        disk_full = isinstance(error, StorageFullError)
        stage = JobStage.WAITING_FOR_DISK if disk_full else JobStage.WAITING_FOR_DATABASE
        self._reported = 0.0
        self.report((self._last or Progress(stage=stage)).model_copy(update={"stage": stage}))

    def report(self, progress: Progress, preview: Callable[[], Image.Image | None] = lambda: None) -> None:
        """Report progress, at most every ``REPORT_EVERY`` seconds, without waiting for the database.

        A report that cannot be written is dropped, and of several pending ones only the last is written.
        """
        now = time.monotonic()
        if now - self._reported < REPORT_EVERY and progress.fraction < 1:
            return
        self._reported, preview_image = now, None
        self._last = progress = progress.model_copy(update={"seconds": round(self.seconds, 3)})
        if now - self._previewed >= PREVIEW_EVERY and (preview_image := preview()) is not None:
            self._previewed = now
        self._writer.put(progress, preview_image)

    def flush(self) -> None:
        """Wait until all reports are written, before the job ends."""
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
