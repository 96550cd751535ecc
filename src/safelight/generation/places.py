"""How many may draw at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """A number of places, each to be held as a context manager; whoever comes when all are taken waits for one.

    Args:
        count: How many there are.
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
    def lent(self) -> Iterator[None]:
        """Give one's place to others within the block.

        It is taken back without waiting, even where it is one too many then: who lent it may hold memory that those
        who have the places wait for.
        """
        self.__exit__()
        try:
            yield
        finally:
            with self._changed:
                self._free -= 1
