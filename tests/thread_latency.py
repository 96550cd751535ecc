"""Whether other threads, such as an event loop, keep running beside a long computation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from safelight.errors import SafelightError

LONGEST = 0.1
"""Seconds."""


def longest_stall(do: Callable[[], object]) -> float:
    """The longest time, in seconds, during which a thread that wakes up each millisecond did not run.

    It counts only as far as this thread was computing: on a busy machine both wait for other programs too.
    """
    ended, waits, clock = threading.Event(), [0.0], time.pthread_getcpuclockid(threading.get_ident())

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.clock_gettime(clock)

    def tick() -> None:
        last = now()
        while not ended.is_set():
            time.sleep(0.001)
            here = now()
            waits.append(min(here[0] - last[0], here[1] - last[1]))
            last = here

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        do()
    except SafelightError:
        pass
    finally:
        ended.set()
        ticking.join()
    return max(waits)


def assert_short_stalls(do: Callable[[], object]) -> None:
    """Assert that a computation blocks other threads only briefly; a busy machine slows down at most some of five
    tries."""
    found = []
    for _ in range(5):
        found.append(longest_stall(do))
        if found[-1] < LONGEST:
            return
    raise AssertionError(found)
