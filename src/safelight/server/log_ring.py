"""The newest lines of this process's log, kept in memory for whoever looks after the server."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from safelight.logs import formatter

KEPT, LONGEST = 2000, 2000
"""How many lines are kept, and how many characters of each text in one: the last ones, where tracebacks say most."""
OWN = frozenset({"timestamp", "level", "event", "logger"})
"""What of a line has a place of its own."""
LOG_PATH = "/v1/system/log"
"""Whoever looks at the log is not in it: a page that looks every second would soon drive out everything else."""


@dataclass(frozen=True)
class Line:
    """One line.

    Args:
        time: When.
        level: info, warning …
        severity: The level as the standard library counts it; there are some without a name of their own.
        event: What happened.
        source: Which module says so.
        fields: Everything else that the line holds.
    """

    time: datetime
    level: str
    severity: int
    event: str
    source: str
    fields: dict[str, object]


class LogRing(logging.Handler):
    """Keeps what the log on stderr holds, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(formatter())
        self._lines: deque[Line] = deque(maxlen=KEPT)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hear all loggers of the process within the block."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            line = _line(json.loads(self.format(record)), record)
        except Exception:  # noqa: BLE001  as every handler of the standard library does
            self.handleError(record)
            return
        if line.fields.get("path") != LOG_PATH:
            self._lines.append(line)

    def lines(self, count: int, level: str) -> list[Line]:
        """The newest lines of a level and above, the newest last.

        Args:
            count: How many at most.
            level: info, warning or error.
        """
        least = logging.getLevelNamesMapping()[level.upper()]
        self.acquire()
        try:
            found = [line for line in self._lines if line.severity >= least]
        finally:
            self.release()
        return found[-count:]


def _line(fields: dict[str, object], record: logging.LogRecord) -> Line:
    return Line(
        time=datetime.fromtimestamp(record.created, UTC),
        level=record.levelname.lower(),
        severity=record.levelno,
        event=str(_short(fields.get("event", ""))),
        source=record.name,
        fields={name: _short(value) for name, value in fields.items() if name not in OWN},
    )


def _short(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > LONGEST:
        return f"… {text[-LONGEST:]}"
    return value
