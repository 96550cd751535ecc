"""Settings of the memory's management: giving freed memory back, and no garbage collection during long imports."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
