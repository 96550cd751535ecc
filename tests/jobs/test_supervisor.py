from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.jobs.worker_processes import wait_for

from safelight.jobs import health_probe, supervisor
from safelight.jobs.supervisor import (
    MAX_BACKOFF,
    MIN_BACKOFF,
    STABLE_AFTER,
    TEMPORARY_STATUS,
    ChildProcess,
    Supervisor,
)

WRONG_INPUT = 2


def run_until_exit(child: ChildProcess) -> int:
    """Start a child that ends by itself, and wait for it; returns its status."""
    child.restart_at = 0.0
    assert child.poll(time.monotonic()) is None
    assert child.process is not None
    child.process.wait(60)
    status = child.poll(child.started_at + 1.0)
    assert status is not None
    return status


def test_restarts_of_a_child_that_ends_early_are_delayed_more_and_more() -> None:
    child = ChildProcess("short", ["worker", "--number", "none"])
    pauses = []
    for _ in range(3):
        assert run_until_exit(child) == WRONG_INPUT  # "none" is no number
        pauses.append(child.backoff)
    assert pauses == [2 * MIN_BACKOFF, 4 * MIN_BACKOFF, 8 * MIN_BACKOFF]
    assert child.poll(child.restart_at - 0.01) is None
    assert child.process is None


def test_delays_are_bounded_and_reset_with_age() -> None:
    child = ChildProcess("short", ["--version"], backoff=MAX_BACKOFF)
    run_until_exit(child)
    assert child.backoff == MAX_BACKOFF
    child.restart_at = 0.0
    child.poll(time.monotonic())
    assert child.process is not None
    child.process.wait(60)
    child.poll(child.started_at + STABLE_AFTER + 1)
    assert child.backoff == MIN_BACKOFF


def test_invalid_input_ends_the_supervisor() -> None:
    assert Supervisor([ChildProcess("wrong", ["no-such-command"])]).run() == WRONG_INPUT


def run_script(child: ChildProcess, script: str) -> int:
    """Run a script as a child; returns its status."""
    child.process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    child.started_at = time.monotonic()
    child.process.wait(60)
    status = child.poll(child.started_at + 1.0)
    assert status is not None
    return status


def test_permanent_errors_are_told_from_temporary_ones() -> None:
    child = ChildProcess("any", [])
    for status, young, old in (
        (2, True, True),
        (3, True, False),
        (TEMPORARY_STATUS, False, False),
        (1, False, False),
    ):
        assert run_script(child, f"raise SystemExit({status})") == status
        assert child.failed_permanently(status, child.started_at + 1) is young
        assert child.failed_permanently(status, child.started_at + STABLE_AFTER + 1) is old


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("DatabaseOpenError", TEMPORARY_STATUS),
        ("DatabaseBusyError", TEMPORARY_STATUS),
        ("StorageFullError", TEMPORARY_STATUS),
        ("DatabaseDamagedError", 1),
        ("DatabaseVersionError", 1),
    ],
)
def test_a_childs_exit_status_says_whether_it_is_temporary(error: str, status: int) -> None:
    script = f"""
from safelight import errors
from safelight.jobs.supervisor import exit_on_temporary_error
with exit_on_temporary_error():
    raise errors.{error}
"""
    assert run_script(ChildProcess("any", []), script) == status  # 1 is Python's own, for uncaught exceptions


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port, and a data directory for the child."""
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@contextmanager
def run_supervisor(child: ChildProcess) -> Iterator[list[int]]:
    """Run a supervisor; yields a list that has its exit status in the end."""
    supervisor = Supervisor([child])
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(supervisor.run()))
    thread.start()
    try:
        yield status
    finally:
        supervisor.stop()
        thread.join()


def test_children_end_with_it(port: int) -> None:
    """The child would stay: it answers requests until it gets a signal."""
    child = ChildProcess("lasting", ["api", "--port", str(port)])
    with run_supervisor(child) as status:
        wait_for(lambda: answers(port))
        process = child.process
        assert process is not None
        assert process.poll() is None
    assert status == [0]
    assert process.returncode == 0  # it exited by itself, and was not killed
    assert not answers(port)


class HangableServer(ChildProcess):
    """A server whose event loop blocks for good on the signal USR1."""

    def start(self) -> None:
        script = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"
            "from safelight.cli.app import run\n"
            "sys.exit(run(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", script, *self.arguments, "--supervised"]
        self.attach(subprocess.Popen(command, stdin=subprocess.PIPE))


@pytest.mark.parametrize("name", ["SIGSTOP", "SIGUSR1"])
def test_a_server_that_stops_responding_is_restarted(
    port: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was stopped, and one whose event loop is blocked: both processes exist, and neither responds."""
    monkeypatch.setattr(health_probe, "PROBE_TIMEOUT", 0.5)
    monkeypatch.setattr(health_probe, "PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(supervisor, "RESPONSE_TIMEOUT", 1.0)
    child = HangableServer("api", ["api", "--port", str(port)], address=("127.0.0.1", port))
    with run_supervisor(child) as status:
        wait_for(lambda: child.health_probe is not None and child.health_probe.has_answered)
        first = child.process
        assert first is not None
        first.send_signal(signal.Signals[name])
        wait_for(lambda: child.process not in (None, first))
        assert first.returncode == -signal.SIGKILL
        wait_for(lambda: child.health_probe is not None and child.health_probe.has_answered)
    assert status == [0]


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
