from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safelight.runtime.openmp import INTERVAL, WAIT_VARIABLES, CoresInUse, WaitPolicy, thread_team_releaser

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, as torch brings it on Linux")
PLAIN = {
    name: value for name, value in os.environ.items() if name not in (*WAIT_VARIABLES, "OMP_NUM_THREADS")
}
COUNTED = """
import threading
import psutil, torch
from safelight.runtime.openmp import thread_team_releaser

def compute():
    return torch.nn.functional.silu(torch.ones(1 << 20))  # sums no rounding could tell apart

torch.set_num_threads(3)
let_go = thread_team_releaser()
before = psutil.Process().num_threads()
first = compute()
team = psutil.Process().num_threads()
let_go()
after = psutil.Process().num_threads()
let_go()  # twice does no harm
again = compute()
print(before, team, after, bool((first == again).all()))
"""
COMPUTED = """
import sys
import time
import torch
from safelight.runtime.openmp import INTERVAL, WaitPolicy

def processor_time(threads):
    torch.set_num_threads(threads)
    values = torch.ones(1 << 17)
    torch.nn.functional.silu(values)
    started = time.process_time()
    for _ in range(1000):  # with a barrier each, as a small network has
        torch.nn.functional.silu(values)
    return time.process_time() - started

policy = WaitPolicy()
time.sleep(INTERVAL)
torch.set_num_threads(2)
policy.adjust()
print(policy.sleeps, processor_time(1), processor_time(2))
"""
BUSY = "while True: pass"


@LINUX
def test_a_threads_team_ends_and_it_computes_as_before() -> None:
    ran = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True)
    before, team, after, same = ran.stdout.split()
    assert int(team) == int(before) + 2
    assert int(after) == int(before)
    assert same == "True"


def test_with_another_threading_library_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another package's OpenMP is not even opened."""
    monkeypatch.setattr("safelight.runtime.openmp.ctypes.CDLL", pytest.fail)
    assert thread_team_releaser(tmp_path / "missing")() is None
    maps = tmp_path / "maps"
    maps.write_text("7f00 r-xp 00:00 1 /usr/lib/sentencepiece.libs/libgomp-6a29c32d.so.1.0.0\n")
    assert thread_team_releaser(maps)() is None


@pytest.fixture
def busy_neighbours() -> Iterator[None]:
    """A busy process for each core."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@LINUX
@pytest.mark.usefixtures("busy_neighbours")
def test_waiting_for_a_thread_that_a_neighbour_keeps_from_computing_takes_no_processor_time() -> None:
    """On two cores: as much processor time as one thread takes, and 13 to 18 times as much with threads that spin."""
    ran = subprocess.run(
        [sys.executable, "-c", COMPUTED], env=PLAIN, capture_output=True, text=True, check=True
    )
    sleeps, one_thread, two_threads = ran.stdout.split()
    assert sleeps == "True"
    assert float(two_threads) < 4 * float(one_thread)


class Scene:
    """A policy with a clock and neighbours of the test's own, for as many threads as there are cores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, cores: int, threads: int) -> None:
        for name in WAIT_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("safelight.runtime.openmp.usable_cores", lambda: cores)
        monkeypatch.setattr("safelight.runtime.openmp.torch.get_num_threads", lambda: threads)
        self.now, self.others = 0.0, 0.0
        self.policy = WaitPolicy(lambda: self.others, lambda: self.now)

    def sleeps(self, others: float, after: float = INTERVAL) -> bool:
        """Whether threads sleep once others use so many cores."""
        self.now += after
        self.others = others
        self.policy.adjust()
        return self.policy.sleeps


@LINUX
@pytest.mark.parametrize(
    ("cores", "threads", "others", "sleeps"),
    [(2, 2, 0.1, False), (2, 2, 1.0, True), (8, 4, 3.0, False), (8, 4, 4.5, True), (2, 1, 2.0, False)],
)
def test_threads_sleep_where_others_need_their_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, others: float, sleeps: bool
) -> None:
    assert Scene(monkeypatch, cores=cores, threads=threads).sleeps(others) is sleeps


@LINUX
def test_the_idle_team_ends_with_the_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, cores=2, threads=2)
    before = threading.active_count()
    assert scene.sleeps(1.0)
    assert threading.active_count() == before + 1
    assert scene.sleeps(0.0, after=INTERVAL / 2), "measured too early"
    assert not scene.sleeps(0.0, after=INTERVAL)
    wait_for(lambda: threading.active_count() == before)


@LINUX
def test_the_idle_team_ends_with_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    Scene(monkeypatch, cores=2, threads=2)  # for as many threads as there are cores
    policy = WaitPolicy(lambda: 1.0, iter([0.0, INTERVAL]).__next__)
    before = threading.active_count()
    policy.adjust()
    assert threading.active_count() == before + 1
    del policy
    wait_for(lambda: threading.active_count() == before)


@pytest.mark.parametrize("name", WAIT_VARIABLES)
def test_a_choice_of_the_environment_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    policy = WaitPolicy(pytest.fail, iter([0.0, 9.0]).__next__)
    policy.adjust()
    assert not policy.sleeps


@LINUX
@pytest.mark.usefixtures("busy_neighbours")
def test_the_cores_that_others_use_are_counted() -> None:
    """Without this process's own use, which a loop makes as large as a neighbour's."""
    used, started = CoresInUse(), time.monotonic()
    while time.monotonic() < started + 0.5:
        pass
    cores = os.cpu_count() or 1
    assert 0.3 * cores < used.by_others() <= cores


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a thread that was told to end has ended."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
