from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from tests.jobs.running import wait_for

from safelight.jobs.supervisor import FIRST_PAUSE, HOPELESS, LONGEST_PAUSE, OLD, Child, Supervisor


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
        assert died(child) == HOPELESS  # "none" is no number
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
    assert Supervisor([Child("wrong", ["no-such-command"])]).run() == HOPELESS


def test_children_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child would stay: it answers requests until it is told to go."""
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = Child("lasting", ["api", "--port", str(port)])
    supervisor = Supervisor([child])
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(supervisor.run()))
    thread.start()
    try:
        wait_for(lambda: answers(port))
        process = child.process
        assert process is not None
        assert process.poll() is None
    finally:
        supervisor.stop()
        thread.join()
    assert status == [0]
    assert process.returncode == 0  # as it was told, and not killed
    assert not answers(port)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
