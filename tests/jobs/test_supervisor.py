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
from tests.jobs.running import wait_for

from safelight.jobs import health_probe, supervisor
from safelight.jobs.supervisor import FIRST_PAUSE, LONGEST_PAUSE, OLD, PASSING, Child, Supervisor

WRONG_INPUT = 2


def died(child: Child) -> int:
    """Let a child that ends by itself live and die; returns its status."""
    child.due = 0.0
    assert child.look(time.monotonic()) is None
    assert child.process is not None
    child.process.wait(60)
    status = child.look(child.born + 1.0)
    assert status is not None
    return status


def test_what_dies_young_is_started_again_ever_later() -> None:
    child = Child("short", ["worker", "--number", "none"])
    pauses = []
    for _ in range(3):
        assert died(child) == WRONG_INPUT  # "none" is no number
        pauses.append(child.pause)
    assert pauses == [2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert child.look(child.due - 0.01) is None
    assert child.process is None


def test_pauses_are_bounded_and_forgotten_with_age() -> None:
    child = Child("short", ["--version"], pause=LONGEST_PAUSE)
    died(child)
    assert child.pause == LONGEST_PAUSE
    child.due = 0.0
    child.look(time.monotonic())
    assert child.process is not None
    child.process.wait(60)
    child.look(child.born + OLD + 1)
    assert child.pause == FIRST_PAUSE


def test_wrong_input_ends_it_all() -> None:
    assert Supervisor([Child("wrong", ["no-such-command"])]).run() == WRONG_INPUT


def ended(child: Child, script: str) -> int:
    """Let a child that does what a script says live and die; returns its status."""
    child.process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    child.born = time.monotonic()
    child.process.wait(60)
    status = child.look(child.born + 1.0)
    assert status is not None
    return status


def test_what_would_come_again_is_told_from_what_may_pass() -> None:
    child = Child("any", [])
    for status, young, old in ((2, True, True), (3, True, False), (PASSING, False, False), (1, False, False)):
        assert ended(child, f"raise SystemExit({status})") == status
        assert child.hopeless(status, child.born + 1) is young
        assert child.hopeless(status, child.born + OLD + 1) is old


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("DatabaseOpenError", PASSING),
        ("DatabaseBusyError", PASSING),
        ("StorageFullError", PASSING),
        ("DatabaseDamagedError", 1),
        ("DatabaseVersionError", 1),
    ],
)
def test_a_child_says_whether_it_may_pass(error: str, status: int) -> None:
    script = f"""
from safelight import errors
from safelight.jobs.supervisor import telling_what_passes
with telling_what_passes():
    raise errors.{error}
"""
    assert ended(Child("any", []), script) == status  # 1 is Python's own, for errors that nobody catches


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A free one, and a data directory for whoever is started."""
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@contextmanager
def supervised(child: Child) -> Iterator[list[int]]:
    """A supervisor at work; gives a list that has its exit status in the end."""
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
    """The child would stay: it answers requests until it is told to go."""
    child = Child("lasting", ["api", "--port", str(port)])
    with supervised(child) as status:
        wait_for(lambda: answers(port))
        process = child.process
        assert process is not None
        assert process.poll() is None
    assert status == [0]
    assert process.returncode == 0  # as it was told, and not killed
    assert not answers(port)


class Hangable(Child):
    """The server, with an event loop that stops for good when the signal USR1 comes."""

    def start(self) -> None:
        script = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"
            "from safelight.cli.app import run\n"
            "sys.exit(run(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", script, *self.arguments, "--supervised"]
        self.begin(subprocess.Popen(command, stdin=subprocess.PIPE))


@pytest.mark.parametrize("name", ["SIGSTOP", "SIGUSR1"])
def test_a_server_that_falls_silent_is_started_again(
    port: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was stopped, and one whose event loop is blocked: both are there, and neither answers."""
    monkeypatch.setattr(health_probe, "WAIT", 0.5)
    monkeypatch.setattr(health_probe, "ASK_EVERY", 0.1)
    monkeypatch.setattr(supervisor, "SILENT", 1.0)
    child = Hangable("api", ["api", "--port", str(port)], listens=("127.0.0.1", port))
    with supervised(child) as status:
        wait_for(lambda: child.liveness is not None and child.liveness.answered)
        first = child.process
        assert first is not None
        first.send_signal(signal.Signals[name])
        wait_for(lambda: child.process not in (None, first))
        assert first.returncode == -signal.SIGKILL
        wait_for(lambda: child.liveness is not None and child.liveness.answered)
    assert status == [0]


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
