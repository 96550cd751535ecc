"""Threads that owners share: what one of them asks for does not make the others wait for all of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from structlog.contextvars import get_contextvars

from safelight.server.fair_queue import FairQueue

SHARE = 4
"""One owner has at most one in so many threads: what computes in Python takes the interpreter from everybody."""
P = ParamSpec("P")
Result = TypeVar("Result")


def current_owner() -> str:
    """For whom the code that calls this works; empty for the server itself. ``middleware.access`` notes it."""
    return str(get_contextvars().get("owner", ""))


@dataclass(eq=False)
class Task:
    """Something to be done in a thread.

    Args:
        owner: For whom.
        do: What.
        memory: Bytes that it takes for as long as it runs.
    """

    owner: str
    do: Callable[[], Any]
    memory: int = 0
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> float:
        """Do it, unless nobody wants it any more; returns the seconds it took."""
        if not self.future.set_running_or_notify_cancel():
            return 0.0
        began = time.monotonic()
        try:
            self.future.set_result(self.do())
        except BaseException as error:  # noqa: BLE001  it belongs to whoever waits for it
            self.future.set_exception(error)
        return time.monotonic() - began


class FairThreads(ThreadPoolExecutor):
    """An executor in which the owners of what is submitted take turns.

    Whose it is follows from the context it is submitted in.

    Args:
        threads: How many, at least 1.
        name: What their names begin with.
        each: How many one owner has at most; not given, one in `SHARE`.
        initializer: Called in each thread when it begins.
    """

    def __init__(
        self,
        threads: int,
        name: str,
        each: int | None = None,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(threads, thread_name_prefix=name, initializer=initializer)
        self._turns: FairQueue[Task] = FairQueue(each or max(1, threads // SHARE))
        self._guard = threading.Lock()

    def submit(self, do: Callable[P, Result], /, *args: P.args, **options: P.kwargs) -> Future[Result]:
        """Do something when its owner's turn has come."""
        return self.enqueue(Task(current_owner(), lambda: do(*args, **options)))

    def waiting(self, owner: str) -> int:
        """How much of one owner's waits."""
        with self._guard:
            return self._turns.waiting(owner)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End when all is done, or when what has begun is."""
        if cancel_futures:
            with self._guard:
                dropped = self._turns.clear()
            for task in dropped:
                task.future.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def enqueue(self, task: Task) -> Future[Any]:
        """Do something when its owner's turn has come."""
        with self._guard:
            self._turns.put(task.owner, task)
        task.future.add_done_callback(lambda future: self._forget(task) if future.cancelled() else None)
        super().submit(self._work)
        return task.future

    def _work(self) -> None:
        """Do what is next, until nothing may begin; each end can let something else begin."""
        while (task := self._begin()) is not None:
            with suppress(RuntimeError):  # which is raised when the pool is being shut down
                super().submit(self._work)  # what ends can make room for more than one
            seconds = task.run()
            with self._guard:
                self._end(task, seconds)

    def _begin(self) -> Task | None:
        with self._guard:
            return self._next()

    def _forget(self, task: Task) -> None:
        with self._guard:
            self._turns.remove(task.owner, task)

    def _next(self) -> Task | None:
        """Take out what is next, if anything may begin; called with the lock held."""
        found = self._turns.first()
        if found is None:
            return None
        self._turns.begin(found[0])
        return found[1]

    def _end(self, task: Task, seconds: float) -> None:
        """Note that something is over; called with the lock held."""
        self._turns.end(task.owner, seconds)
