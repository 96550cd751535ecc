"""The audit log: who was let in, who was turned away, and what was done that cannot be undone. One JSON object a line.

It lies in the data directory as ``audit.log``. When it has grown to its size it is set aside as ``audit.log.1`` and a
new one is begun; the five newest of those are kept. Several processes may write it.

What is rare and matters for long (keys, sessions, checkpoints) is in ``security.log`` as well, of which the same is
true: what users do all day cannot drive it out there. And nobody drives out what others did: of what one owner, or one
address, does again and again, so many lines a minute are written, and how many were left out is said.
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

from safelight.logs import logger
from safelight.private import private_folder

if sys.platform != "win32":
    import fcntl

MAX_BYTES, KEPT = 10_000_000, 5
BOUND = ("request_id", "address", "owner")
"""What is taken over from the log's context: which request it was, from where, and whose."""
RARE = ("key.", "session.", "checkpoint.")
"""How the events begin that are in ``security.log`` too."""
WAITING = 1000
"""How many lines are remembered that could not be written, as on a full disk."""

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Share:
    """How many lines of one owner are written.

    Args:
        at_once: So many.
        a_minute: And so many more in a minute.
    """

    at_once: int
    a_minute: float


SHARES = {"audit.log": Share(600, 60.0), "security.log": Share(60, 1.0)}


class AuditLog:
    """Appends to the log.

    Args:
        home: The data directory.
        max_bytes: How large each file may grow before it is set aside.
        kept: How many that were set aside are kept.
    """

    def __init__(self, home: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self.path = home / "audit.log"
        self._common = _File(self.path, SHARES["audit.log"], max_bytes, kept)
        self._rare = _File(home / "security.log", SHARES["security.log"], max_bytes, kept)
        self._lock = threading.Lock()

    def note(self, event: str, **about: Value) -> None:
        """Write one line. What cannot be written is said in the server's log and written later; the request goes on.

        Args:
            event: What happened, as job.submitted.
            about: What belongs to it; never a key, never a picture.
        """
        bound = {
            name: value
            for name, value in structlog.contextvars.get_contextvars().items()
            if name in BOUND and value
        }
        line: dict[str, Value] = {"time": _now(), "event": event, **bound, **about}
        whose = str(line.get("owner") or line.get("address") or "")
        with self._lock:
            for file in (self._common, self._rare) if event.startswith(RARE) else (self._common,):
                file.take(line, whose)
            try:
                with self._alone():
                    self._common.write()
                    self._rare.write()
            except OSError as error:
                logger(__name__).error(
                    "the audit log cannot be written", event_waiting=event, error=str(error)
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from setting the files aside at the same moment."""
        private_folder(self.path.parent)
        file = os.open(self.path.with_name(".audit.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def audit_log(home: Path, size: int) -> AuditLog:
    """The log of a data directory.

    Args:
        home: The data directory.
        size: Bytes that each of its two files may take, with what was set aside.
    """
    return AuditLog(home, max_bytes=size // (KEPT + 1))


class _File:
    """One of the log's files, with the lines that are still to be written."""

    def __init__(self, path: Path, share: Share, max_bytes: int, kept: int) -> None:
        self._path, self._max_bytes, self._kept = path, max_bytes, kept
        self._lines: deque[bytes] = deque(maxlen=WAITING)
        self._shares = _Shares(share)

    def take(self, line: dict[str, Value], whose: str) -> None:
        """A line to be written, unless its owner has had their share; what was left out is said with the next one."""
        left_out = self._shares.left_out(whose)
        if left_out is None:
            return
        if left_out:
            told: dict[str, Value] = {"time": _now(), "event": "left.out", "lines": left_out}
            self._put(told | {name: line[name] for name in BOUND[1:] if name in line})
        self._put(line)

    def write(self) -> None:
        """Write what waits, oldest first.

        Raises:
            OSError: It is not all written; the rest still waits.
        """
        while self._lines:
            self._make_room(len(self._lines[0]))
            self._append(self._lines[0])
            self._lines.popleft()

    def _put(self, line: dict[str, Value]) -> None:
        self._lines.append((json.dumps(line) + "\n").encode())

    def _append(self, data: bytes) -> None:
        """Append a line whole, or not at all."""
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

    def _make_room(self, size: int) -> None:
        if not self._path.exists() or self._path.stat().st_size + size <= self._max_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            if (older := self._aside(number)).exists():
                older.replace(self._aside(number + 1))
        self._path.replace(self._aside(1))

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


@dataclass
class _Spent:
    """Where an owner stands: lines they may still have, when that was so, lines that were left out since."""

    left: float
    seen: float
    left_out: int = 0


class _Shares:
    """Counts lines by owner, as a token bucket each; those who were not heard of for longest are forgotten."""

    MOST = 10_000

    def __init__(self, share: Share) -> None:
        self._share = share
        self._spent: OrderedDict[str, _Spent] = OrderedDict()

    def left_out(self, whose: str) -> int | None:
        """Count a line: None if it is one too many, else how many were left out before it."""
        now = time.monotonic()
        spent = self._spent.setdefault(whose, _Spent(self._share.at_once, now))
        self._spent.move_to_end(whose)
        if len(self._spent) > self.MOST:
            self._spent.popitem(last=False)
        gained = (now - spent.seen) * self._share.a_minute / 60
        spent.left, spent.seen = min(self._share.at_once, spent.left + gained), now
        if spent.left < 1:
            spent.left_out += 1
            return None
        spent.left -= 1
        before, spent.left_out = spent.left_out, 0
        return before


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
