"""The audit log: accepted and refused access, and actions that cannot be undone. One JSON object per line.

It is the file ``audit.log`` in the data directory. At its maximum size it is rotated to ``audit.log.1``; the five
newest rotated files are kept. Several processes can write it.

Rare events that matter for long (keys, sessions, checkpoints) are also written to ``security.log``, which is rotated in
the same way, so that frequent events do not displace them. Lines are rate-limited by owner, or by address, so that one
owner cannot displace the lines of others; the number of lines that were left out is written too.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from safelight.file_permissions import create_private_folder
from safelight.logs import get_logger

if sys.platform != "win32":
    import fcntl

MAX_BYTES, KEPT_FILES = 10_000_000, 5
CONTEXT_FIELDS = ("request_id", "address", "owner")
"""Fields that are copied from the logging context: the request's id, its address and its owner."""
SECURITY_EVENTS = ("key.", "session.", "checkpoint.", "settings.")
"""Prefixes of the events that are also written to ``security.log``."""
MAX_WAITING_LINES = 1000
"""Number of lines that are kept in memory while they cannot be written, for example on a full disk."""

Value = str | int | float | bool | None


@dataclass(frozen=True)
class LineLimit:
    """The rate limit of one owner's lines, as a token bucket.

    Args:
        burst: The bucket's capacity, in lines.
        per_minute: The refill rate, in lines per minute.
    """

    burst: int
    per_minute: float


LINE_LIMITS = {"audit.log": LineLimit(600, 60.0), "security.log": LineLimit(60, 1.0)}


class AuditLog:
    """Appends lines to the log. Thread-safe.

    Args:
        home: The data directory.
        max_bytes: Size in bytes at which each file is rotated.
        kept: Number of rotated files that are kept.
    """

    def __init__(self, home: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self.path = home / "audit.log"
        self._audit_file = _LogFile(self.path, LINE_LIMITS["audit.log"], max_bytes, kept)
        self._security_file = _LogFile(home / "security.log", LINE_LIMITS["security.log"], max_bytes, kept)
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Value) -> None:
        """Write one line. A line that cannot be written is kept and written later, and the server's log reports it.

        Args:
            event: The event's name, for example job.submitted.
            fields: The event's fields; never a key, never a picture.
        """
        bound = {
            name: value
            for name, value in structlog.contextvars.get_contextvars().items()
            if name in CONTEXT_FIELDS and value
        }
        line: dict[str, Value] = {"time": _now(), "event": event, **bound, **fields}
        whose = str(line.get("owner") or line.get("address") or "")
        with self._lock:
            for file in (
                (self._audit_file, self._security_file)
                if event.startswith(SECURITY_EVENTS)
                else (self._audit_file,)
            ):
                file.queue_line(line, whose)
            try:
                with self._process_lock():
                    self._audit_file.write()
                    self._security_file.write()
            except OSError as error:
                get_logger(__name__).error(
                    "the audit log cannot be written", event_waiting=event, error=str(error)
                )

    @contextmanager
    def _process_lock(self) -> Iterator[None]:
        """Lock out other processes while files are written and rotated."""
        create_private_folder(self.path.parent)
        file = os.open(self.path.with_name(".audit.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def open_audit_log(home: Path, size: int) -> AuditLog:
    """Open the audit log of a data directory.

    Args:
        home: The data directory.
        size: Limit in bytes for each of the two files, including its rotated files.
    """
    return AuditLog(home, max_bytes=size // (KEPT_FILES + 1))


class _LogFile:
    """One of the log's files, with the lines that are waiting to be written."""

    def __init__(self, path: Path, share: LineLimit, max_bytes: int, kept: int) -> None:
        self._path, self._max_bytes, self._kept = path, max_bytes, kept
        self._lines: deque[bytes] = deque(maxlen=MAX_WAITING_LINES)
        self._rate_limiter = _RateLimiter(share)

    def queue_line(self, line: dict[str, Value], owner: str) -> None:
        """Queue a line unless its owner is over the rate limit; the next line is preceded by the number left out."""
        left_out = self._rate_limiter.count(owner)
        if left_out is None:
            return
        if left_out:
            notice: dict[str, Value] = {"time": _now(), "event": "left.out", "lines": left_out}
            self._append_waiting(notice | {name: line[name] for name in CONTEXT_FIELDS[1:] if name in line})
        self._append_waiting(line)

    def write(self) -> None:
        """Write the waiting lines, oldest first.

        Raises:
            OSError: A line cannot be written; it and the later ones keep waiting.
        """
        while self._lines:
            self._rotate_if_full(len(self._lines[0]))
            self._append(self._lines[0])
            self._lines.popleft()

    def _append_waiting(self, line: dict[str, Value]) -> None:
        self._lines.append((json.dumps(line) + "\n").encode())

    def _append(self, data: bytes) -> None:
        """Append a complete line or nothing."""
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            before = os.fstat(file).st_size
            try:
                written = os.write(file, data)
            except OSError:
                written = 0
                raise
            finally:
                if written < len(data):
                    os.ftruncate(file, before)
            if written < len(data):
                raise OSError("there is no space for a whole line")
        finally:
            os.close(file)

    def _rotate_if_full(self, size: int) -> None:
        if not self._path.exists() or self._path.stat().st_size + size <= self._max_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            if (older := self._rotated_path(number)).exists():
                older.replace(self._rotated_path(number + 1))
        self._path.replace(self._rotated_path(1))

    def _rotated_path(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


@dataclass
class _Bucket:
    """An owner's token bucket: tokens left, the time of that count, and lines left out since the last written one."""

    tokens: float
    updated: float
    left_out: int = 0


class _RateLimiter:
    """Token buckets by owner; the least recently used ones are dropped."""

    MAX_OWNERS = 10_000

    def __init__(self, share: LineLimit) -> None:
        self._share = share
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def count(self, owner: str) -> int | None:
        """Count a line: None if it is over the limit, else the number of lines left out before it."""
        now = time.monotonic()
        spent = self._buckets.setdefault(owner, _Bucket(self._share.burst, now))
        self._buckets.move_to_end(owner)
        if len(self._buckets) > self.MAX_OWNERS:
            self._buckets.popitem(last=False)
        gained = (now - spent.updated) * self._share.per_minute / 60
        spent.tokens, spent.updated = min(self._share.burst, spent.tokens + gained), now
        if spent.tokens < 1:
            spent.left_out += 1
            return None
        spent.tokens -= 1
        before, spent.left_out = spent.left_out, 0
        return before


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
