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

REPORT_INTERVAL, PREVIEW_INTERVAL = 0.2, 0.5
"""Seconds between two reports, and between two previews."""
PREVIEW_SIDE = 256
PAUSE_POLL_INTERVAL = 0.05
"""Seconds between two checks whether a paused job may continue."""

ResultT = TypeVar("ResultT")


@dataclass(eq=False)
class RunningJob:
    """A running job.

    Args:
        job: As it was claimed.
        store: Where progress is reported.
        signal: The signal that it has received.
        worker_stopping: Whether the worker is stopping.
        interrupted: Whether work was left undone because the job was stopped.
        partial: Whether this attempt did only part of the work: something was skipped, or kept from an earlier
            attempt.
        skip_count: How many SKIP signals it has followed.
        paused: Whether it is to wait while other jobs run.
        max_seconds: Time limit for every job, in seconds.
    """

    job: Job
    store: JobStore
    signal: Signal | None = None
    worker_stopping: bool = False
    interrupted: bool = False
    partial: bool = False
    skip_count: int = 0
    paused: bool = False
    max_seconds: float = math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started_at: float = field(default_factory=time.monotonic)
    _last_report_at: float = 0.0
    _last_preview_at: float = field(default_factory=time.monotonic)  # short jobs need no preview
    _made_progress: bool = False
    _paused_seconds: float = 0.0
    _paused_at: float | None = None
    _last_progress: Progress | None = None
    _writer: ProgressWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = ProgressWriter(self._write)

    @property
    def seconds(self) -> float:
        """How long it has run, without pauses."""
        end = time.monotonic() if self._paused_at is None else self._paused_at
        return end - self._started_at - self._paused_seconds

    @property
    def time_limit(self) -> float:
        """The job's time limit, in seconds."""
        return min(self.max_seconds, self.job.timeout or math.inf)

    @property
    def timed_out(self) -> bool:
        """Whether it has exceeded its time limit."""
        return self.seconds > self.time_limit

    @property
    def suspect(self) -> bool:
        """Whether it may have caused the loss of its last worker: it has made no progress since."""
        return self.job.lost > 0 and not self._made_progress

    def should_stop(self) -> bool:
        """Whether the current picture is to be stopped now, for any reason."""
        return self.signal is not None or self.worker_stopping or self.timed_out

    @property
    def should_abort(self) -> bool:
        """Whether the job is to be stopped at once, without keeping the current picture."""
        return self.worker_stopping or self.timed_out or self.signal is Signal.CANCEL

    @property
    def should_end(self) -> bool:
        """Whether the whole job is to be stopped, and not only the current picture."""
        return self.should_abort or self.signal is Signal.FINISH

    def receive_signal(self, signal: Signal | None, skip_count: int) -> None:
        """Receive a signal; it replaces an earlier one that it overrides.

        Args:
            signal: The signal that was read.
            skip_count: The number of skips before it was read: a skip that was followed meanwhile is not followed
                again.
        """
        with self._lock:
            stale = signal is Signal.SKIP and skip_count != self.skip_count
            if signal is not None and not stale and signal.overrides(self.signal):
                self.signal = signal

    def acknowledge_skip(self) -> None:
        """Record that the current picture was skipped, and clear the signal.

        Raises:
            RunStoppedError, DatabaseError: As in ``retry_transient``.
        """
        self.partial = True
        self.retry_database(lambda: self.store.clear_signal(self.job, Signal.SKIP))
        with self._lock:
            self.skip_count += 1
            if self.signal is Signal.SKIP:
                self.signal = None

    def reset_lost_count(self) -> None:
        """Record that a picture is in the gallery: workers lost before no longer count.

        Raises:
            RunStoppedError, DatabaseError: As in ``retry_transient``.
        """
        if self.job.lost and not self._made_progress:
            self.retry_database(lambda: self.store.reset_lost_count(self.job))
            self._made_progress = True

    def retry_database(self, operation: Callable[[], ResultT]) -> ResultT:
        """Run a database operation with retries; returns its result.

        Raises:
            RunStoppedError: The job was aborted before the operation succeeded.
            DatabaseError: The error is permanent.
        """
        try:
            return retry_transient(operation, lambda: self.should_abort, on_wait=self._report_waiting)
        except DatabaseError as error:
            if not self.should_abort:
                raise
            self.interrupted = True
            raise RunStoppedError from error

    def pause(self) -> None:
        """Wait while the job is paused. Called between parts of the work, where it holds nothing other jobs need."""
        if not self.paused or self.should_stop():
            return
        self.on_pause(True)
        try:
            while self.paused and not self.should_stop():
                time.sleep(PAUSE_POLL_INTERVAL)
        finally:
            self.on_pause(False)

    def on_pause(self, waiting: bool) -> None:
        """Record that the job begins to wait, or that it continues."""
        now = time.monotonic()
        if waiting:
            self._paused_at = now
            if self._last_progress is not None:
                self._writer.put(self._last_progress.model_copy(update={"stage": PAUSED}))
            return
        assert self._paused_at is not None
        self._paused_seconds += now - self._paused_at
        self._paused_at, self._last_report_at = None, 0.0  # the next step is reported at once

    def _report_waiting(self, error: DatabaseError) -> None:
        """Report the reason of the wait as the job's stage, where that can be written."""
        disk_full = isinstance(error, StorageFullError)
        stage = JobStage.WAITING_FOR_DISK if disk_full else JobStage.WAITING_FOR_DATABASE
        self._last_report_at = 0.0
        self.report((self._last_progress or Progress(stage=stage)).model_copy(update={"stage": stage}))

    def report(self, progress: Progress, preview: Callable[[], Image.Image | None] = lambda: None) -> None:
        """Report progress, at most every ``REPORT_INTERVAL`` seconds, without waiting for the database.

        A report that cannot be written is dropped, and of several pending ones only the last is written.
        """
        now = time.monotonic()
        if now - self._last_report_at < REPORT_INTERVAL and progress.fraction < 1:
            return
        self._last_report_at, preview_image = now, None
        self._last_progress = progress = progress.model_copy(update={"seconds": round(self.seconds, 3)})
        if now - self._last_preview_at >= PREVIEW_INTERVAL and (preview_image := preview()) is not None:
            self._last_preview_at = now
        self._writer.put(progress, preview_image)

    def flush(self) -> None:
        """Wait until all reports are written, before the job ends."""
        self._writer.flush()

    def _write(self, progress: Progress, preview: Image.Image | None) -> None:
        try:
            self.store.report(self.job, progress, None if preview is None else _encode_preview(preview))
        except DatabaseError as error:
            get_logger(__name__).warning("progress not written", job_id=self.job.id, error=error.message)


def _encode_preview(picture: Image.Image) -> bytes:
    from PIL import Image

    scale = PREVIEW_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()
