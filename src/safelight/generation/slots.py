"""A limit on how many threads generate at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ConcurrencySlots:
    """A semaphore, used as a context manager: a thread waits while all slots are taken.

    Args:
        count: The number of slots.
    """

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition()
        self._free = count

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0)
            self._free -= 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give this thread's slot to another thread within the block.

        It is taken back without waiting, even if that exceeds the limit: this thread may hold memory that the threads
        with slots wait for.
        """
        self.__exit__()
        try:
            yield
        finally:
            with self._changed:
                self._free -= 1
