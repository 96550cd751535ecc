"""Executors for work on pixels: few threads, shared fairly between owners, within a memory budget."""

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
from safelight.server.core.executors.fair_executor import FairExecutor, WorkItem, current_owner

MAX_CORES = 4
"""Maximum number of cores for work on images."""
MEMORY_BUDGET = 320 * 10**6
"""Bytes that all work on images may take at once. A call that exceeds it runs when no other large call does."""
SMALL_MEMORY, SMALL_PIXELS = 32 * 10**6, 16 * 10**6
"""Work up to these bytes and pixels is small: it takes a fraction of a second and does not wait for large work."""
NICENESS = 10
"""Niceness of threads for large work: 0 is the default priority, 19 the lowest."""
MAX_WAITING = 256
"""Maximum number of waiting calls of one owner, for small and for large work each."""


@dataclass(frozen=True)
class ImageCost:
    """The cost of work on an image.

    Args:
        memory: Peak memory, in bytes.
        pixels: Pixels to process, over all frames.
    """

    memory: int = 0
    pixels: int = 0

    @property
    def is_large(self) -> bool:
        """Whether the work is large, which takes seconds."""
        return self.memory > SMALL_MEMORY or self.pixels > SMALL_PIXELS

    def __add__(self, other: ImageCost) -> ImageCost:
        """The cost of both at the same time."""
        return ImageCost(self.memory + other.memory, self.pixels + other.pixels)

    def then(self, other: ImageCost) -> ImageCost:
        """The cost of both one after the other, if the first keeps no memory."""
        return ImageCost(max(self.memory, other.memory), self.pixels + other.pixels)


class BudgetedExecutor(FairExecutor):
    """An executor with a memory budget: a call starts when it fits, and no other call overtakes one that waits to fit.

    A call that exceeds the budget by itself starts when nothing else runs. If the system allows it, these threads have
    a low priority: work that takes seconds yields to work that takes milliseconds.

    Args:
        threads: Number of threads, at least 2; one owner may have all but one.
        name: Prefix of the threads' names.
        budget: Memory budget, in bytes.
    """

    def __init__(self, threads: int, name: str, budget: int) -> None:
        super().__init__(threads, name, per_owner=threads - 1, initializer=_lower_priority)
        self._budget, self._memory_in_use, self._running = budget, 0, 0

    def _take_locked(self) -> WorkItem | None:
        found = self._fair_queue.next_eligible()
        if found is None or (self._running and self._memory_in_use + found[1].memory > self._budget):
            return None
        owner, task = found
        self._fair_queue.start(owner)
        self._running += 1
        self._memory_in_use += task.memory
        return task

    def _finish_locked(self, item: WorkItem, seconds: float) -> None:
        super()._finish_locked(item, seconds)
        self._running -= 1
        self._memory_in_use -= item.memory


class ImageExecutor:
    """Runs small and large work on images in separate threads, so that neither waits for the other.

    No owner may have all threads of one size: another owner's image always finds a thread that is free or soon will be.

    Args:
        cores: Number of cores to use.
        budget: Memory budget of all work together, in bytes.
    """

    def __init__(self, cores: int | None = None, budget: int = MEMORY_BUDGET) -> None:
        cores = cores or min(MAX_CORES, usable_cores())
        self.concurrency = cores + 1
        self._small = FairExecutor(self.concurrency, "pictures", per_owner=self.concurrency - 1)
        self._large = BudgetedExecutor(
            max(2, cores), "large pictures", budget - self.concurrency * SMALL_MEMORY
        )

    def submit(self, function: Callable[[], Any], cost: ImageCost) -> Future[Any]:
        """Run a function when its owner's turn comes and its memory fits.

        Raises:
            RateLimitError: Too many calls of this owner wait already.
        """
        threads = self._large if cost.is_large else self._small
        owner = current_owner()
        if (waiting := threads.waiting(owner)) >= MAX_WAITING:
            raise RateLimitError(f"{waiting} pictures of yours wait already.", retry_after=2)
        return threads.enqueue(WorkItem(owner, function, cost.memory))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down after all calls, or with ``cancel_futures`` after those that are running."""
        for threads in (self._small, self._large):
            threads.shutdown(wait, cancel_futures=cancel_futures)


def _lower_priority() -> None:
    """Lower this thread's priority, on Linux only: elsewhere it would be that of the whole process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
