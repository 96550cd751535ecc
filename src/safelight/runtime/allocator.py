"""Giving memory that was freed back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


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
