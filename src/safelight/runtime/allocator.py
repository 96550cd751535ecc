"""Settings of the memory's management: giving freed memory back, and no garbage collection during long imports."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WEIGHT_BYTES = 2 * 2**20
"""Blocks of so many bytes are mapped by themselves while weights are loaded."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_HIGHEST_THRESHOLD = 32 * 2**20
"""What glibc raises the threshold to, at most, once such large blocks have been freed."""


def trim() -> bool:
    """Give back what the C library keeps of freed memory; returns whether there was any.

    Loading networks, and probing how to run them, takes several times the memory that they have in the end, and glibc
    keeps most of it for later. To be called once everything is loaded: generating soon needs its memory again.
    """
    gc.collect()
    if not sys.platform.startswith("linux"):
        return False
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    return give_back is not None and give_back(0) == 1


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Let the C library (glibc) map each large block of memory by itself within the block.

    For weights: between them no holes of what was converted meanwhile remain, and they are given back at once when they
    are freed. It is the whole process's setting: blocks of other threads may be mapped too, which is only slower.
    Afterwards the limits are those that glibc would have found by itself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, WEIGHT_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, _HIGHEST_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, 2 * _HIGHEST_THRESHOLD)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Turn garbage collection off while large libraries are imported.

    They create a million objects that live as long as the process. Collections would traverse them again and again,
    which takes a fifth of the time of the import, and would find nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:  # objects that the application has frozen stay frozen
            gc.freeze()  # the two together move all objects to the oldest generation without traversing them
            gc.unfreeze()
        gc.enable()
