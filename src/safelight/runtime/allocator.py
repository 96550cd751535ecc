"""Settings of the memory's management: giving freed memory back, and no garbage collection during long imports."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WEIGHT_BYTES = 2 * 2**20
"""Blocks of so many bytes are mapped by themselves while weights are loaded."""
KEPT_BYTES = 256 * 2**20
"""Freed memory that is kept for the next picture."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_HIGHEST_THRESHOLD = 32 * 2**20
"""What glibc raises the threshold to, at most, once such large blocks have been freed."""
_USUAL_MAPPINGS = 65536
_NEVER = 2**31 - 1


def trim() -> bool:
    """Give back what the C library keeps of freed memory; returns whether there was any.

    Loading networks, and probing how to run them, takes several times the memory that they have in the end, and glibc
    keeps most of it for later. To be called once everything is loaded: generating soon needs its memory again.
    """
    gc.collect()
    return give_back_freed_memory()


def give_back_freed_memory() -> bool:
    """Give back what the C library keeps of freed memory; returns whether there was any."""
    libc = _libc()
    return libc is not None and libc.malloc_trim(0) == 1


def keep_freed_memory() -> None:
    """Let the C library (glibc) use freed memory for the next blocks, however large, until ``large_blocks_apart``.

    Else each block of 32 MiB or more comes from the system and goes back to it, thousands of pages that the system
    clears one by one: a fifth of the time of decoding a picture. All threads share one heap, since others are too small
    for such blocks. It is the whole process's setting; heaps that other threads have got before stay in use, so it is
    best called early.
    """
    if (mallopt := _mallopt()) is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_ARENA_MAX, 1)


def trim_excess() -> bool:
    """Give back what the C library keeps of freed memory if that is more than ``KEPT_BYTES``; returns whether it was.

    To be called between pictures. Free blocks below used ones count still after they were given back.
    """
    libc = _libc()
    if libc is None or not hasattr(libc, "mallinfo2"):
        return False
    libc.mallinfo2.restype = _MallocInfo
    return int(libc.mallinfo2().fordblks) > KEPT_BYTES and libc.malloc_trim(0) == 1


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Let the C library (glibc) map each large block of memory by itself within the block.

    For weights: between them no holes of what was converted meanwhile remain, and they are given back at once when they
    are freed. It is the whole process's setting: blocks of other threads may be mapped too, which is only slower.
    Afterwards the limits are those that glibc would have found by itself.
    """
    if (mallopt := _mallopt()) is None:
        yield
        return
    mallopt(_M_MMAP_MAX, _USUAL_MAPPINGS)
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


class _MallocInfo(ctypes.Structure):
    """What glibc's ``mallinfo2`` returns; ``fordblks`` are the bytes of free blocks."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _libc() -> ctypes.CDLL | None:
    """The C library if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None  # musl has neither


def _mallopt() -> Callable[[int, int], int] | None:
    libc = _libc()
    return None if libc is None else libc.mallopt
