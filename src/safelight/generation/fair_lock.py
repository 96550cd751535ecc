"""A lock that is had in the order in which it was asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FairLock:
    """Like ``threading.Lock``, but nobody overtakes.

    Whoever releases it and asks for it again comes after all who were waiting meanwhile, so that threads that hold it
    nearly all the time still take turns.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._held = False

    def acquire(self, blocking: bool = True) -> bool:
        """Wait for the lock; says whether it was had, which without blocking may be false."""
        with self._door:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            place = threading.Lock()
            place.acquire()
            self._queue.append(place)
        try:
            place.acquire()  # until the lock is handed over
        except BaseException:
            self._give_up(place)
            raise
        return True

    def release(self) -> None:
        """Hand the lock to who has waited longest.

        Raises:
            RuntimeError: Nobody holds it.
        """
        with self._door:
            if not self._held:
                raise RuntimeError("The lock is not held.")
            if self._queue:
                self._queue.popleft().release()
            else:
                self._held = False

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let others have the lock within the block; held again after it."""
        self.release()
        try:
            yield
        finally:
            self.acquire()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _give_up(self, place: threading.Lock) -> None:
        """Leave the queue, as on Ctrl-C; what was handed over meanwhile goes on to the next."""
        with self._door:
            waiting = place in self._queue
            if waiting:
                self._queue.remove(place)
        if not waiting:
            self.release()
