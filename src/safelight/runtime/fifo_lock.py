"""A lock that threads acquire in the order of their requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FifoLock:
    """Like ``threading.Lock``, but first in, first out.

    A thread that releases it and acquires it again queues behind all waiting threads, so that threads that hold it
    nearly all the time still take turns.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._held = False

    def acquire(self, blocking: bool = True) -> bool:
        """Wait for the lock; returns whether it was acquired, which may be False without blocking."""
        with self._mutex:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            waiter = threading.Lock()
            waiter.acquire()
            self._queue.append(waiter)
        try:
            waiter.acquire()  # until the lock is handed over
        except BaseException:
            self._cancel_wait(waiter)
            raise
        return True

    def release(self) -> None:
        """Hand the lock to the thread that has waited longest.

        Raises:
            RuntimeError: No thread holds it.
        """
        with self._mutex:
            if not self._held:
                raise RuntimeError("The lock is not held.")
            if self._queue:
                self._queue.popleft().release()
            else:
                self._held = False

    @contextmanager
    def released(self) -> Iterator[None]:
        """Release the lock within the block, and acquire it again after it."""
        self.release()
        try:
            yield
        finally:
            self.acquire()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _cancel_wait(self, waiter: threading.Lock) -> None:
        """Cancel a wait, as on Ctrl-C; if the lock was handed over meanwhile, release it."""
        with self._mutex:
            waiting = waiter in self._queue
            if waiting:
                self._queue.remove(waiter)
        if not waiting:
            self.release()
