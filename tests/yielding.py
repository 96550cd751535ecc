"""Whether something lets other threads have their turn: an event loop that runs beside it must not wait long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from safelight.errors import SafelightError

LONGEST = 0.1
"""Seconds."""


def longest_wait(do: Callable[[], object]) -> float:
    """The longest time, in seconds, in which another thread that is awake each millisecond had no turn.

    It counts as far as this thread was working meanwhile: on a busy machine both wait for other programs too.
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


def check(do: Callable[[], object]) -> None:
    """A busy machine makes everything slower, but not in each of five tries."""
    found = []
    for _ in range(5):
        found.append(longest_wait(do))
        if found[-1] < LONGEST:
            return
    raise AssertionError(found)
