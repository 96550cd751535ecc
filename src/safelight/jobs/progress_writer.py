"""A thread that writes a job's progress, so that the job does not wait for the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from safelight.jobs.job import Progress

if TYPE_CHECKING:
    from PIL import Image

WriteProgress = Callable[[Progress, "Image.Image | None"], None]


class ProgressWriter:
    """Writes the newest progress in a thread, which ends when there is nothing to write. It is thread-safe.

    Progress that arrives during a write replaces the pending one. If it has no preview, it is written with the
    preview of the one it replaces.

    Args:
        write: Writes one report; it must not raise.
    """

    def __init__(self, write: WriteProgress) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._pending: tuple[Progress, Image.Image | None] | None = None
        self._running = False

    def put(self, progress: Progress, preview: Image.Image | None = None) -> None:
        """Queue progress to be written."""
        with self._changed:
            if preview is None and self._pending is not None:
                preview = self._pending[1]
            self._pending = (progress, preview)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, daemon=True, name="progress").start()

    def flush(self) -> None:
        """Wait until everything queued has been written."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._pending is None:
                    self._running = False
                    self._changed.notify_all()
                    return
                (progress, preview), self._pending = self._pending, None
            self._write(progress, preview)
