"""The threads in which this process looks at pixels: few, fair between owners, and within a budget of memory."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from safelight.errors import RateLimitError
from safelight.runtime.machine import usable_cores
from safelight.server.fair_threads import FairThreads, Task, current_owner

MOST_CORES = 4
"""How many cores are used for pictures, at most."""
BUDGET = 320 * 10**6
"""Bytes that all work on pictures may take at once. What takes more by itself runs when nothing large does."""
SMALL_MEMORY, SMALL_PIXELS = 32 * 10**6, 16 * 10**6
"""Work of fewer bytes and pixels is small: it takes a fraction of a second, and is not held up by what is large."""
PRIORITY = 10
"""Of threads for large work, as nice has it: 0 is usual, 19 the lowest."""
MOST_WAITING = 256
"""How many pieces of one owner's work wait, small and large each."""


@dataclass(frozen=True)
class Cost:
    """What work on a picture takes.

    Args:
        memory: Bytes at its peak.
        pixels: That are gone through, over all frames.
    """

    memory: int = 0
    pixels: int = 0

    @property
    def large(self) -> bool:
        """Whether it takes long."""
        return self.memory > SMALL_MEMORY or self.pixels > SMALL_PIXELS

    def __add__(self, other: Cost) -> Cost:
        """Of two things at the same time."""
        return Cost(self.memory + other.memory, self.pixels + other.pixels)

    def then(self, other: Cost) -> Cost:
        """Of one thing after another, which needs nothing of it."""
        return Cost(max(self.memory, other.memory), self.pixels + other.pixels)


class BudgetedThreads(FairThreads):
    """Threads for what takes much memory: something begins when it fits, and nothing overtakes what waits for that.

    What takes more than the budget by itself begins when nothing else is underway. Where the system allows it, these
    threads have a low priority: what takes seconds anyway lets in what takes milliseconds.

    Args:
        threads: How many, at least 2; one owner has all but one.
        name: What their names begin with.
        budget: Bytes.
    """

    def __init__(self, threads: int, name: str, budget: int) -> None:
        super().__init__(threads, name, each=threads - 1, initializer=_stand_back)
        self._budget, self._taken, self._running = budget, 0, 0

    def _next(self) -> Task | None:
        found = self._turns.first()
        if found is None or (self._running and self._taken + found[1].memory > self._budget):
            return None
        owner, task = found
        self._turns.begin(owner)
        self._running += 1
        self._taken += task.memory
        return task

    def _end(self, task: Task, seconds: float) -> None:
        super()._end(task, seconds)
        self._running -= 1
        self._taken -= task.memory


class PictureThreads:
    """Small work on pictures in some threads and large work in others, so that neither waits for the other.

    No owner has all threads of a kind: one picture of another owner always finds one that is free, or soon will be.

    Args:
        cores: How many cores to use.
        budget: Bytes, for everything at once.
    """

    def __init__(self, cores: int | None = None, budget: int = BUDGET) -> None:
        cores = cores or min(MOST_CORES, usable_cores())
        self.size = cores + 1
        self._small = FairThreads(self.size, "pictures", each=self.size - 1)
        self._large = BudgetedThreads(max(2, cores), "large pictures", budget - self.size * SMALL_MEMORY)

    def start(self, do: Callable[[], Any], cost: Cost) -> Future[Any]:
        """Do something when its owner's turn has come and its bytes fit.

        Raises:
            RateLimitError: Too much of its owner's waits already.
        """
        threads = self._large if cost.large else self._small
        owner = current_owner()
        if (waiting := threads.waiting(owner)) >= MOST_WAITING:
            raise RateLimitError(f"{waiting} pictures of yours wait already.", retry_after=2)
        return threads.enqueue(Task(owner, do, cost.memory))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End when all is done, or when what has begun is."""
        for threads in (self._small, self._large):
            threads.shutdown(wait, cancel_futures=cancel_futures)


def _stand_back() -> None:
    """Give this thread a low priority; elsewhere than on Linux that would be the whole process's."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
