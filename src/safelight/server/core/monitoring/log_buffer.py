"""The newest lines of this process's log, kept in memory for administrators."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from safelight.logs import json_formatter

MAX_LINES, MAX_TEXT = 2000, 2000
"""Maximum number of lines, and of characters of a text: the last ones are kept, as a traceback ends with the error."""
NAMED_FIELDS = frozenset({"timestamp", "level", "event", "logger"})
"""Fields of a line that have an attribute of their own."""
LOG_PATH = "/v1/system/log"
"""Requests of this path are not kept: a page that polls the log would displace everything else."""


@dataclass(frozen=True)
class Line:
    """One line of the log.

    Args:
        time: The time of the record.
        level: info, warning …
        severity: The standard library's numeric level, since not every level has a name.
        event: The message.
        source: The module that logged it.
        fields: All other fields of the line.
    """

    time: datetime
    level: str
    severity: int
    event: str
    source: str
    fields: dict[str, object]


class LogBuffer(logging.Handler):
    """A logging handler that keeps the lines of the log in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(json_formatter())
        self._lines: deque[Line] = deque(maxlen=MAX_LINES)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Receive the records of all loggers within the block."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record as a line."""
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
            count: Maximum number of lines.
            level: info, warning or error.
        """
        minimum = logging.getLevelNamesMapping()[level.upper()]
        self.acquire()
        try:
            found = [line for line in self._lines if line.severity >= minimum]
        finally:
            self.release()
        return found[-count:]


def _line(fields: dict[str, object], record: logging.LogRecord) -> Line:
    return Line(
        time=datetime.fromtimestamp(record.created, UTC),
        level=record.levelname.lower(),
        severity=record.levelno,
        event=str(_truncated(fields.get("event", ""))),
        source=record.name,
        fields={name: _truncated(value) for name, value in fields.items() if name not in NAMED_FIELDS},
    )


def _truncated(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > MAX_TEXT:
        return f"… {text[-MAX_TEXT:]}"
    return value
