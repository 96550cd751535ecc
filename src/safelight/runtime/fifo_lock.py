"""A lock that threads acquire in the order of their requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class _Waiter:
    """A thread's place in the queue; the lock in it is released when it gets the ``FifoLock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.handed_over = False


class FifoLock:
    """Like ``threading.Lock``, but first in, first out.

    A thread that releases it and acquires it again queues behind all waiting threads, so that threads that hold it
    nearly all the time still take turns.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[_Waiter] = deque()
        self._held = False

    def acquire(self, blocking: bool = True) -> bool:
        """Wait for the lock; returns whether it was acquired, which may be False without blocking."""
        waiter = _Waiter()
        try:
            with self._mutex:
                if not self._held:
                    self._held = waiter.handed_over = True
                    return True
                if not blocking:
                    return False
                self._queue.append(waiter)
            waiter.lock.acquire()  # until it is handed over
        except BaseException:  # Ctrl-C, at any moment
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
                waiter = self._queue.popleft()
                waiter.handed_over = True
                waiter.lock.release()
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

    def _cancel_wait(self, waiter: _Waiter) -> None:
        """Cancel a wait, as on Ctrl-C; if the lock was handed over meanwhile, release it."""
        with self._mutex:
            if waiter in self._queue:
                self._queue.remove(waiter)
        if waiter.handed_over:
            self.release()
