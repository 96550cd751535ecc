"""The contract of every command: time to the first line, only JSON on stdout, exit status."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from tests.parallel import load_factor

from safelight import __version__

COMMANDS = ["demo", "moderate", "scan", "export", "models", "bench", "doctor"]


def _is_fast_enough(limit: float, tries: int, run: Callable[[], float]) -> bool:
    """Whether the best of several tries takes less than so many seconds; on a busy machine CPU seconds count."""
    for _ in range(tries):
        before = _processor_seconds()
        if run() < limit or (load_factor() > 1.5 and _processor_seconds() - before < limit):
            return True
    return False


def _processor_seconds() -> float:
    """The CPU seconds that ended child processes have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def timed(environment: dict[str, str]) -> dict[str, str]:
    """The environment without coverage measurement, which takes time."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def test_help_lists_every_command_and_the_exit_status(process):
    ran = process("--help")
    assert ran.status == 0
    assert all(command in ran.out for command in COMMANDS)
    assert "Exit status" in ran.out


def test_help_answers_in_under_three_tenths_of_a_second(timed):
    command = [sys.executable, "-m", "safelight", "--help"]

    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True, env=timed)
        return time.perf_counter() - start

    assert _is_fast_enough(0.3, 10, seconds)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text(safelight, command):
    ran = safelight(command, "--help")
    assert ran.status == 0
    assert "Usage" in ran.out


def test_help_imports_no_engine(environment):
    code = (
        "import sys, safelight.cli.app as a; a.run(['--help']);"
        "print(sorted({'torch', 'numpy', 'onnx', 'openvino', 'PIL', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["moderate", "nothing.jpg"],
        ["scan", ".", "--out", "report.jsonl"],
        ["demo"],
        ["doctor"],
        ["export", "--out", "exported"],
        ["models", "pull", "no-such-model"],
        ["bench", "moderate"],
    ],
    ids=" ".join,
)
def test_first_line_comes_within_a_second(timed, tmp_path, arguments):
    def seconds_to_first_line() -> float:
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "safelight", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=timed,
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline()
            elapsed = time.perf_counter() - start
            process.kill()
        return elapsed

    assert _is_fast_enough(1.0, 3, seconds_to_first_line)


def test_no_arguments_show_the_help(process):
    ran = process()
    assert ran.status == 0
    assert "Usage" in ran.out


def test_version(process):
    assert process("--version").out.strip() == f"safelight {__version__}"


@pytest.mark.parametrize("arguments", [["--nonsense"], ["moderate"], ["nonsense"], ["models"], ["scan", "."]])
def test_wrong_usage_exits_with_two_and_a_json_error(process, arguments):
    ran = process(*arguments, "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "usage"
    assert "error [usage]" in ran.err


def test_a_wrong_setting_is_an_input_error(process):
    ran = process("doctor", "--json", SAFELIGHT_MAX_PIXELS="-5")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == "settings"
    assert "max_pixels" in ran.json_body["error"]["message"]


def test_a_defect_exits_with_three_and_hides_the_traceback(monkeypatch, capsys):
    from safelight.cli import app, doctor

    def explode(**_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(doctor, "_checks", explode)
    assert app.run(["doctor", "--json"]) == 3
    captured = capsys.readouterr()
    assert '"code": "internal"' in captured.out
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_the_usual_shells(environment, shell):
    done = subprocess.run(
        [sys.executable, "-m", "safelight", "--show-completion", shell],
        capture_output=True,
        text=True,
        env=environment | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert done.returncode == 0
    assert "safelight" in done.stdout


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_traceback_only_on_request(monkeypatch, capsys, value, shown):
    from safelight.cli import app, doctor

    def explode(**_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setenv("SAFELIGHT_DEBUG", value)
    monkeypatch.setattr(doctor, "_checks", explode)
    assert app.run(["doctor"]) == 3
    assert ("Traceback" in capsys.readouterr().err) is shown
