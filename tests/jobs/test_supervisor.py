from __future__ import annotations

import threading
import time

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
    child = Child("short", ["--version"])
    pauses = []
    for _ in range(3):
        assert died(child) in (0, 2)  # --supervised is no option of it
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


def test_children_end_with_it() -> None:
    child = Child("lasting", ["worker", "--help"])
    supervisor = Supervisor([child])
    timer = threading.Timer(1.0, supervisor.stop)
    timer.start()
    assert supervisor.run() in (0, HOPELESS)  # as it is stopped, or after the child's own end
    timer.join()
    assert child.process is None or child.process.poll() is not None
