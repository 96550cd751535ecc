"""The command line, run within the test's process, where plug-ins are registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RunCommand = Callable[..., tuple[int, str]]
"""Runs ``safelight`` with arguments; returns the exit status and what was printed on stdout."""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> RunCommand:
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(*arguments: str) -> tuple[int, str]:
        from safelight.cli.app import run

        capfd.readouterr()
        return run([*arguments]), capfd.readouterr().out

    return run_command
