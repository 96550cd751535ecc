"""A thread pool that owners share fairly: a long queue of one owner does not delay the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from structlog.contextvars import get_contextvars

from safelight.server.core.executors.fair_queue import FairQueue

OWNER_SHARE = 4
"""One owner has at most one in so many threads: Python code holds the interpreter lock that all threads need."""
P = ParamSpec("P")
Result = TypeVar("Result")


def current_owner() -> str:
    """The owner of the current context; empty for the server itself. ``middleware.authentication`` sets it."""
    return str(get_contextvars().get("owner", ""))


@dataclass(eq=False)
class WorkItem:
    """A call to run in a thread.

    Args:
        owner: The owner that the call is for.
        function: The function to call.
        memory: Bytes that the call takes while it runs.
    """

    owner: str
    function: Callable[[], Any]
    memory: int = 0
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> float:
        """Call the function unless the future was cancelled; returns the seconds it took."""
        if not self.future.set_running_or_notify_cancel():
            return 0.0
        began = time.monotonic()
        try:
            self.future.set_result(self.function())
        except BaseException as error:  # noqa: BLE001  passed to the future, as every executor does
            self.future.set_exception(error)
        return time.monotonic() - began


class FairExecutor(ThreadPoolExecutor):
    """An executor that shares its threads fairly between owners.

    The owner of a call is that of the context in which it is submitted.

    Args:
        threads: Number of threads, at least 1.
        name: Prefix of the threads' names.
        per_owner: Maximum number of threads of one owner; one in ``OWNER_SHARE`` when not given.
        initializer: Called in each thread when it starts.
    """

    def __init__(
        self,
        threads: int,
        name: str,
        per_owner: int | None = None,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(threads, thread_name_prefix=name, initializer=initializer)
        self._fair_queue: FairQueue[WorkItem] = FairQueue(per_owner or max(1, threads // OWNER_SHARE))
        self._fair_lock = threading.Lock()

    def submit(self, function: Callable[P, Result], /, *args: P.args, **options: P.kwargs) -> Future[Result]:
        """Run a function when its owner's turn comes."""
        return self.enqueue(WorkItem(current_owner(), lambda: function(*args, **options)))

    def waiting(self, owner: str) -> int:
        """How many calls of an owner wait."""
        with self._fair_lock:
            return self._fair_queue.waiting(owner)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down after all calls, or with ``cancel_futures`` after those that are running."""
        if cancel_futures:
            with self._fair_lock:
                dropped = self._fair_queue.clear()
            for task in dropped:
                task.future.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def enqueue(self, item: WorkItem) -> Future[Any]:
        """Queue a call until its owner's turn comes."""
        with self._fair_lock:
            self._fair_queue.put(item.owner, item)
        item.future.add_done_callback(lambda future: self._discard(item) if future.cancelled() else None)
        super().submit(self._run_items)
        return item.future

    def _run_items(self) -> None:
        """Run the next call until none may start; each one that ends may allow another to start."""
        while (task := self._take()) is not None:
            with suppress(RuntimeError):  # raised while the pool is being shut down
                super().submit(self._run_items)  # one call that ends can make room for several
            seconds = task.run()
            with self._fair_lock:
                self._finish_locked(task, seconds)

    def _take(self) -> WorkItem | None:
        with self._fair_lock:
            return self._take_locked()

    def _discard(self, item: WorkItem) -> None:
        with self._fair_lock:
            self._fair_queue.remove(item.owner, item)

    def _take_locked(self) -> WorkItem | None:
        """Take the next call, if one may start; called with the lock held."""
        found = self._fair_queue.next_eligible()
        if found is None:
            return None
        self._fair_queue.start(found[0])
        return found[1]

    def _finish_locked(self, item: WorkItem, seconds: float) -> None:
        """Count a call as finished; called with the lock held."""
        self._fair_queue.finish(item.owner, seconds)
