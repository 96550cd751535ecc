"""A cache of text embeddings with a limit in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class SupportsNbytes(Protocol):
    """A value with a size in bytes."""

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""


V = TypeVar("V", bound=SupportsNbytes)


class EmbeddingCache(Generic[V]):
    """A thread-safe LRU cache with a limit in bytes.

    Args:
        max_bytes: The limit in bytes; 0 caches nothing. A value larger than the limit is never cached.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    @property
    def nbytes(self) -> int:
        """Size of all cached values in bytes."""
        return self._bytes

    @property
    def hits(self) -> int:
        """Number of cache hits."""
        return self._hits

    @property
    def misses(self) -> int:
        """Number of cache misses."""
        return self._misses

    def __len__(self) -> int:
        return len(self._entries)

    def get_or_compute(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return the value of a key, computed by ``compute`` if it is missing; two threads may both compute it."""
        with self._lock:
            if (found := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                self._hits += 1
                return found
            self._misses += 1
        made = compute()
        self._insert(key, made)
        return made

    def clear(self) -> None:
        """Remove all values; the hit and miss counters continue."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _insert(self, key: Hashable, value: V) -> None:
        if value.nbytes > self._max_bytes:
            return
        with self._lock:
            if (old := self._entries.pop(key, None)) is not None:
                self._bytes -= old.nbytes
            self._entries[key] = value
            self._bytes += value.nbytes
            while self._bytes > self._max_bytes:
                self._bytes -= self._entries.popitem(last=False)[1].nbytes
