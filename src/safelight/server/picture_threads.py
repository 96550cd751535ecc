"""The threads in which this process looks at pixels: few, fair between owners, and within a budget of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from safelight.errors import RateLimitError
from safelight.runtime.machine import usable_cores
from safelight.server.fair_queue import FairQueue
from safelight.server.fair_threads import FairThreads, Task, current_owner

MOST_CORES = 4
"""How many cores are used for pictures, at most."""
BUDGET = 400 * 10**6
"""Bytes that all work on pictures may take at once. What takes more by itself runs when nothing large does."""
SMALL_MEMORY, SMALL_PIXELS = 32 * 10**6, 16 * 10**6
"""Work of fewer bytes and pixels is small: it takes a fraction of a second, and is not held up by what is large."""
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


class PictureThreads(FairThreads):
    """Does small work in turn, and large work in turn, so that neither keeps the other from beginning.

    There is one thread more than cores: large work never takes the last one, and no owner takes all. Small work begins
    as soon as a thread is free; large work waits until its bytes fit into what the budget leaves beside small work, and
    nothing large overtakes it.

    Args:
        cores: How many cores to use.
        budget: Bytes, for everything at once.
    """

    def __init__(self, cores: int | None = None, budget: int = BUDGET) -> None:
        self.size = (cores or min(MOST_CORES, usable_cores())) + 1
        super().__init__(self.size, "pictures")
        self._turns = FairQueue(self.size - 1)  # of small work
        self._large: FairQueue[Task] = FairQueue(max(1, self.size - 2))
        self._budget = max(0, budget - self.size * SMALL_MEMORY)
        self._taken = self._large_running = 0
        self._running: Counter[str] = Counter()

    def start(self, do: Callable[[], Any], cost: Cost) -> Future[Any]:
        """Do something when its owner's turn has come and its bytes fit.

        Raises:
            RateLimitError: Too much of its owner's waits already.
        """
        task = Task(current_owner(), do, cost.memory if cost.large else 0, cost.large)
        with self._guard:
            waiting = self._queue(task).waiting(task.owner)
        if waiting >= MOST_WAITING:
            raise RateLimitError(f"{waiting} pictures of yours wait already.", retry_after=2)
        return self._enqueue(task)

    def _queue(self, task: Task) -> FairQueue[Task]:
        return self._large if task.large else self._turns

    def _put(self, task: Task) -> None:
        self._queue(task).put(task.owner, task)

    def _next(self) -> Task | None:
        """Large work when none runs, so that small work cannot keep it waiting for ever; otherwise small work first."""
        order = (self._next_large, self._next_small)
        for choose in order if not self._large_running else reversed(order):
            if (task := choose()) is not None:
                self._running[task.owner] += 1
                return task
        return None

    def _full(self, owner: str) -> bool:
        """Whether somebody has as many threads as one owner may have."""
        return self._running[owner] >= self.size - 1

    def _next_small(self) -> Task | None:
        found = self._turns.first(self._full)
        if found is None:
            return None
        self._turns.begin(found[0])
        return found[1]

    def _next_large(self) -> Task | None:
        if self._large_running >= self.size - 1 or (found := self._large.first(self._full)) is None:
            return None
        owner, task = found
        if self._large_running and self._taken + task.memory > self._budget:
            return None
        self._large.begin(owner)
        self._large_running += 1
        self._taken += task.memory
        return task

    def _end(self, task: Task, seconds: float) -> None:
        self._running[task.owner] -= 1
        if not self._running[task.owner]:
            del self._running[task.owner]
        self._queue(task).end(task.owner, seconds)
        if task.large:
            self._large_running -= 1
            self._taken -= task.memory

    def _remove(self, task: Task) -> None:
        self._queue(task).remove(task.owner, task)

    def _drop(self) -> list[Task]:
        return self._turns.clear() + self._large.clear()
