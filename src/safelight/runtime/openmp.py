"""Lets go of the threads that torch computes with on a processor, so that another thread computes as fast.

GNU's OpenMP keeps a team of threads for each thread that has ever computed. Once all teams together have more threads
than there are cores, it takes them for too many at work and lets each sleep between any two operations, although only
one team is ever busy here: a picture then took half as long again on two cores. Ending a team and starting it anew
costs some milliseconds, so it is done between pictures and where one thread waits for others.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_TORCHS_OWN = re.compile(r"/\S*/torch(?:\.libs|/lib)/libgomp[^/\s]*$", re.MULTILINE)
"""In the list of what a process has loaded; other packages bring their own, with teams of their own."""
_SOFT = 1


def letting_go(maps: Path = Path("/proc/self/maps")) -> Callable[[], None]:
    """A function that ends the calling thread's team; it does nothing where torch computes in another way.

    Args:
        maps: What this process has loaded, as Linux lists it; torch has to be imported before.
    """
    try:
        found = _TORCHS_OWN.search(maps.read_text())
    except OSError:  # another system
        return lambda: None
    pause = getattr(ctypes.CDLL(found.group()), "omp_pause_resource_all", None) if found else None
    if pause is None:
        return lambda: None
    return lambda: pause(_SOFT)
