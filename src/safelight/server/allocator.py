"""How the server's process keeps memory: pictures are large and go soon, what was loaded stays."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
LARGE, ARENAS = 1024 * 1024, 2
"""From how many bytes on a block is the system's own, and how many pools of smaller ones there are."""


def give_memory_back() -> bool:
    """From now on, blocks of a megabyte go back to the system when they are freed; returns whether glibc was told.

    By itself glibc raises that bound to 32 MB when the first large block is freed, and then keeps what pictures took;
    and it has a pool for each of many threads. To be called before other threads begin.
    """
    if not sys.platform.startswith("linux"):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if tell is None:
        return False
    told = ((_MMAP_THRESHOLD, LARGE), (_TRIM_THRESHOLD, LARGE), (_ARENA_MAX, ARENAS))
    answers = [tell(which, value) for which, value in told]
    return answers == [1] * len(told)


def leave_to_stay() -> None:
    """Leave whatever is in memory now out of all garbage collections that follow.

    What modules and pages a server loads stays as long as it runs. Going through all of it in each full collection
    finds nothing, and no thread runs meanwhile.
    """
    gc.freeze()
