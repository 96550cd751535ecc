"""Settings of malloc and of the garbage collector for a process with short-lived images and long-lived modules."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
LARGE_BLOCK, MAX_ARENAS = 1024 * 1024, 2
"""Bytes from which on malloc maps a block by itself, and the number of arenas for smaller blocks."""


def configure_malloc() -> bool:
    """Make malloc return freed blocks of a megabyte or more to the system; returns whether glibc accepted it.

    By default glibc raises this threshold to 32 MB when the first large block is freed, and then keeps the memory that
    images took; it also has an arena for each of many threads. Call this before other threads start.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return False
    options = ((_MMAP_THRESHOLD, LARGE_BLOCK), (_TRIM_THRESHOLD, LARGE_BLOCK), (_ARENA_MAX, MAX_ARENAS))
    results = [mallopt(which, value) for which, value in options]
    return results == [1] * len(options)


def freeze_loaded_objects() -> None:
    """Exclude all objects that exist now from later garbage collections.

    The modules and pages that a server loads live as long as the process. Each full collection would traverse all of
    them, find nothing, and stop every thread meanwhile.
    """
    gc.freeze()
