"""The command line with the test's own data directory: in a child process, or within the tests' process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    status: int
    out: str
    err: str

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; fails where it has anything else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json_body(self) -> dict[str, Any]:
        """Standard output as the one JSON object that it must be."""
        (only,) = self.json_lines
        return only


RunCommand = Callable[..., CommandResult]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("safelight-home")


@pytest.fixture(scope="session")
def environment(home: Path) -> dict[str, str]:
    """Settings without a backend probe: it takes seconds, and has tests of its own."""
    names = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")}
    return names | {
        "SAFELIGHT_HOME": str(home),
        "SAFELIGHT_BACKEND": "onnxruntime",
        "SAFELIGHT_PRECISION": "fp32",
        "COLUMNS": "120",
    }


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> RunCommand:
    """Run a command in a child process, as a user does; for what ``safelight`` cannot show."""

    def run(*arguments: str | Path, stdin: bytes = b"", **more: str) -> CommandResult:
        done = subprocess.run(
            [sys.executable, "-m", "safelight", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=environment | more,
            timeout=120,
        )
        return CommandResult(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def run_in_process(
    arguments: list[str], working: Path, environment: dict[str, str], stdin: bytes = b""
) -> CommandResult:
    """Run a command within this process, in a folder and with the settings of an environment.

    For fixtures of a module; a test uses ``safelight``, which also captures what is not written by Python.
    """
    from safelight.cli.app import run

    with pytest.MonkeyPatch.context() as patch:
        _patch_process(patch, working, environment, stdin)
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            status = run(arguments)
    return CommandResult(status, out.getvalue(), err.getvalue())


def _patch_process(
    patch: pytest.MonkeyPatch, working: Path, environment: dict[str, str], stdin: bytes
) -> None:
    patch.chdir(working)
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    for name, value in environment.items():
        if name.startswith("SAFELIGHT_") or name == "COLUMNS":
            patch.setenv(name, value)


@pytest.fixture
def safelight(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> RunCommand:
    """Run a command within this process, which saves seconds of imports."""

    def run(*arguments: str | Path, stdin: bytes = b"", **more: str) -> CommandResult:
        from safelight.cli.app import run

        with monkeypatch.context() as patch:
            _patch_process(patch, tmp_path, environment | more, stdin)
            status = run([*map(str, arguments)])
        return CommandResult(status, *capfd.readouterr())

    return run


@pytest.fixture
def inside(safelight: RunCommand, anything_goes: Path, tiny: Callable[[str], Path]) -> RunCommand:
    """Run a command within this process, with a tiny checkpoint and a policy that allows every image."""
    drawing = {
        "SAFELIGHT_CHECKPOINT": str(tiny("sd1")),
        "SAFELIGHT_DEVICE": "cpu",
        "SAFELIGHT_POLICY": str(anything_goes),
    }
    return lambda *arguments, **more: safelight(*arguments, **(drawing | more))


@pytest.fixture(scope="session")
def anything_goes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that allows every image."""
    return _policy(tmp_path_factory, "anything-goes", review=1.0)


@pytest.fixture(scope="session")
def nothing_goes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that blocks every image: the only harmless way to see a block."""
    return _policy(tmp_path_factory, "nothing-goes", review=0.0)


def _policy(factory: pytest.TempPathFactory, name: str, review: float) -> Path:
    path = factory.mktemp("policies") / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nversion = "7"\nsafe = ["sfw"]\n[unsafe]\nnsfw = {{ review = {review}, block = {review} }}\n'
    )
    return path
