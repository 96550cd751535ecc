from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from safelight.logs import configure_logging, get_logger, log_context


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a program with our logs writes to standard error."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", written)
        configure_logging()
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_has_its_fields_and_those_of_the_context(stderr: io.StringIO) -> None:
    with log_context(job="7"):
        get_logger("safelight.x").info("made %d of %d", 2, 3, name="a file", message="taken by logging")
    (line,) = lines(stderr)
    assert line.pop("timestamp")
    assert line == {
        "event": "made 2 of 3",
        "level": "info",
        "logger": "safelight.x",
        "job": "7",
        "name": "a file",
        "message": "taken by logging",
    }


def test_an_exception_is_one_line(stderr: io.StringIO) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        get_logger("safelight.x").exception("failed", file="a.png")
    (line,) = lines(stderr)
    assert line["file"] == "a.png"
    assert str(line["exception"]).endswith("ValueError: wrong")


def test_libraries_write_such_lines_too(stderr: io.StringIO) -> None:
    logging.getLogger("other").warning("%d left", 5)
    assert [(line["event"], line["logger"]) for line in lines(stderr)] == [("5 left", "other")]


def test_a_program_that_imports_safelight_decides_about_its_lines(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing goes to standard output, where the program's own results go."""
    get_logger("safelight.x").info("by the way")
    get_logger("safelight.x").warning("careful", path="a.png")
    assert [record.getMessage() for record in caplog.records] == ["careful"]
    assert capfd.readouterr().out == ""
