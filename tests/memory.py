"""Garbage collection of a test process: it takes little time, and the process stays small.

Much of what tests make, whole engines with their networks among it, is in reference cycles. Python frees cycles rarely
in a process with as many modules as this one, and traverses all these modules each time.
"""

from __future__ import annotations

import gc

import psutil

from safelight.runtime.allocator import trim

gc.disable()  # while test modules are imported, see exclude_imports

MAX_GROWTH = 128 * 2**20
"""Bytes by which a test process may grow before unreachable objects are freed."""


def exclude_imports() -> None:
    """Start collecting garbage, and exclude all objects that exist already: the modules that tests import."""
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
