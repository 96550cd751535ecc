"""Keeping what was encoded, up to so many bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that knows its size."""

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""


V = TypeVar("V", bound=Sized)


class EmbeddingCache(Generic[V]):
    """A cache that forgets what was used least recently; safe to share between threads.

    Args:
        max_bytes: How much may be kept, in bytes; 0 keeps nothing. What alone is larger is never kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    @property
    def nbytes(self) -> int:
        """What is kept, in bytes."""
        return self._bytes

    @property
    def hits(self) -> int:
        """How often something was there."""
        return self._hits

    @property
    def misses(self) -> int:
        """How often something had to be made."""
        return self._misses

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """What is kept under a key, or else what ``make`` gives; two threads at once may both have to make it."""
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                self._hits += 1
                return found
            self._misses += 1
        made = make()
        self._keep(key, made)
        return made

    def clear(self) -> None:
        """Forget everything; the counters go on."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _keep(self, key: Hashable, value: V) -> None:
        if value.nbytes > self._max_bytes:
            return
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._bytes -= old.nbytes
            self._kept[key] = value
            self._bytes += value.nbytes
            while self._bytes > self._max_bytes:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
