"""OpenMP's threads sleep while they wait: busy neighbours do not raise the processor time of a computation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from safelight.openmp_waiting import VARIABLES

PLAIN = {name: value for name, value in os.environ.items() if name not in VARIABLES}
SHOWN = "import os, safelight; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
COMPUTED = """
import time
import safelight
import torch

def processor_time(threads):
    torch.set_num_threads(threads)
    values = torch.ones(1 << 17)
    torch.nn.functional.silu(values)
    started = time.process_time()
    for _ in range(1000):  # with a barrier each, as a small network has
        torch.nn.functional.silu(values)
    return time.process_time() - started

print(processor_time(1), processor_time(2))
"""
BUSY = "while True: pass"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "passive None"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
        ({"GOMP_SPINCOUNT": "100"}, "None 100"),
    ],
)
def test_waiting_threads_sleep_unless_the_environment_says_otherwise(
    given: dict[str, str], found: str
) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOWN], env=PLAIN | given, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == found.split()


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


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, as torch brings it on Linux")
@pytest.mark.usefixtures("busy_neighbours")
def test_waiting_for_a_thread_that_a_neighbour_keeps_from_computing_takes_no_processor_time() -> None:
    """On two cores: as much processor time as one thread takes, and 13 to 18 times as much with threads that spin."""
    ran = subprocess.run(
        [sys.executable, "-c", COMPUTED], env=PLAIN, capture_output=True, text=True, check=True
    )
    one_thread, two_threads = map(float, ran.stdout.split())
    assert two_threads < 4 * one_thread
