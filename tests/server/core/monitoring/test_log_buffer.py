from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from safelight.logs import get_logger, log_context
from safelight.server.core.monitoring.log_buffer import LOG_PATH, MAX_LINES, MAX_TEXT, LogBuffer

pytestmark = pytest.mark.usefixtures("logged")


@pytest.fixture
def ring() -> Iterator[LogBuffer]:
    ring = LogBuffer()
    with ring.attached():
        yield ring


def test_it_records_our_log_and_that_of_libraries(ring: LogBuffer) -> None:
    with log_context(request_id="r-7"):
        get_logger("safelight.here").info("request", status=200, seconds=0.5)
    logging.getLogger("a.library").warning("%s went wrong", "something")
    ours, theirs = ring.lines(10, "info")
    assert (ours.event, ours.level, ours.source) == ("request", "info", "safelight.here")
    assert ours.fields == {"status": 200, "seconds": 0.5, "request_id": "r-7"}
    assert (theirs.event, theirs.level, theirs.source) == (
        "something went wrong",
        "warning",
        "a.library",
    )
    assert ours.time <= theirs.time


def test_level_and_limit(ring: LogBuffer) -> None:
    log = get_logger("x")
    for number in range(3):
        log.info(f"info {number}")
        log.warning(f"warning {number}")
    log.error("error")
    assert [line.event for line in ring.lines(2, "info")] == ["warning 2", "error"]
    assert [line.event for line in ring.lines(9, "warning")] == [
        "warning 0",
        "warning 1",
        "warning 2",
        "error",
    ]
    assert [line.event for line in ring.lines(9, "error")] == ["error"]


def test_unnamed_levels(ring: LogBuffer) -> None:
    """A library may log at any level; all other lines can still be read."""
    logging.getLogger("x").log(25, "between info and warning")
    logging.getLogger("x").warning("a warning")
    assert [line.level for line in ring.lines(9, "info")] == ["level 25", "warning"]
    assert [line.level for line in ring.lines(9, "warning")] == ["warning"]


def test_it_is_bounded(ring: LogBuffer) -> None:
    for number in range(MAX_LINES + 5):
        logging.getLogger("x").info("line %d", number)
    lines = ring.lines(2 * MAX_LINES, "info")
    assert len(lines) == MAX_LINES
    assert lines[-1].event == f"line {MAX_LINES + 4}"
    get_logger("x").error(
        "a defect", exception="x" * 10 * MAX_TEXT + "the end", more={"a": ["y" * 10 * MAX_TEXT]}
    )
    (line,) = ring.lines(1, "error")
    assert str(line.fields["exception"]).endswith("the end")
    assert all(len(str(value)) < MAX_TEXT + 10 for value in line.fields.values())


def test_reading_the_log_is_not_recorded(ring: LogBuffer) -> None:
    get_logger("x").info("request", path=LOG_PATH)
    get_logger("x").info("request", path="/v1/system")
    assert [line.fields["path"] for line in ring.lines(9, "info")] == ["/v1/system"]


def test_lines_that_cannot_be_formatted_are_survived(
    ring: LogBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []
    monkeypatch.setattr(LogBuffer, "handleError", lambda _, record: failed.append(record.msg))
    ring.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert (failed, ring.lines(9, "info")) == (["%d"], [])


def test_it_can_be_removed() -> None:
    ring, before = LogBuffer(), logging.getLogger().handlers[:]
    with ring.attached():
        assert ring in logging.getLogger().handlers
    assert logging.getLogger().handlers == before
