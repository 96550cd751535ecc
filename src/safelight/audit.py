"""The audit log: who was let in, who was turned away, and what was done that cannot be undone. One JSON object a line.

It lies in the data directory as ``audit.log``. When it has grown to ten megabytes it is set aside as ``audit.log.1``
and a new one is begun; the five newest of those are kept. Several processes may write it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from safelight.logs import logger
from safelight.private import private_folder

if sys.platform != "win32":
    import fcntl

MAX_BYTES, KEPT = 10_000_000, 5
BOUND = ("request_id", "address", "owner")
"""What is taken over from the log's context: which request it was, from where, and whose."""

Value = str | int | float | bool | None


class AuditLog:
    """Appends to the log.

    Args:
        home: The data directory.
        max_bytes: How large the file may grow before it is set aside.
        kept: How many that were set aside are kept.
    """

    def __init__(self, home: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self.path = home / "audit.log"
        self._max_bytes, self._kept = max_bytes, kept
        self._lock = threading.Lock()

    def note(self, event: str, **about: Value) -> None:
        """Write one line. What cannot be written is said in the server's log, and the request goes on.

        Args:
            event: What happened, as job.submitted.
            about: What belongs to it; never a key, never a picture.
        """
        bound = {
            name: value
            for name, value in structlog.contextvars.get_contextvars().items()
            if name in BOUND and value
        }
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **bound,
            **about,
        }
        data = (json.dumps(line) + "\n").encode()
        try:
            with self._lock, self._alone():
                self._make_room(len(data))
                self._append(data)
        except OSError as error:
            logger(__name__).error("the audit log cannot be written", event_lost=event, error=str(error))

    def _append(self, data: bytes) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, data)
        finally:
            os.close(file)

    def _make_room(self, size: int) -> None:
        if not self.path.exists() or self.path.stat().st_size + size <= self._max_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            if (older := self._aside(number)).exists():
                older.replace(self._aside(number + 1))
        self.path.replace(self._aside(1))

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from setting the file aside at the same moment."""
        private_folder(self.path.parent)
        file = os.open(self.path.with_name(".audit.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)
