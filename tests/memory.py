"""Garbage collection of a test process: it takes little time, and the process stays small.

Much of what tests make, whole engines with their networks among it, is in reference cycles. Python frees cycles rarely
in a process with as many modules as this one, and traverses all these modules each time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from safelight.runtime.allocator import trim

MAX_GROWTH = 128 * 2**20
"""Bytes by which a test process may grow before unreachable objects are freed."""


@contextmanager
def long_lived_imports() -> Iterator[None]:
    """Collect no garbage meanwhile, and exclude all objects that exist afterwards from later collections."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


class MemoryLimiter:
    """Frees unreachable objects whenever the process has grown."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._smallest = self._bytes()

    def free_garbage(self) -> None:
        """Collect garbage and return freed memory to the system if much was allocated since the last time."""
        self._smallest = min(self._smallest, self._bytes())
        if self._bytes() > self._smallest + MAX_GROWTH:
            trim()
            self._smallest = self._bytes()

    def _bytes(self) -> int:
        return int(self._process.memory_info().rss)
