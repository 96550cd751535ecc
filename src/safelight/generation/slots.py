"""A limit on how many threads generate at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ConcurrencySlots:
    """A semaphore, used as a context manager: a thread waits while all places are taken.

    Args:
        count: How many places there are.
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
        """Give this thread's place to another one within the block.

        It is taken back without waiting, even if that is one too many: this thread may hold memory that those with
        places wait for.
        """
        self.__exit__()
        try:
            yield
        finally:
            with self._changed:
                self._free -= 1
