"""Release the OpenMP threads that torch computes with on the CPU, so that other threads compute at full speed.

GNU OpenMP keeps a thread team for each thread that has ever computed. Once all teams together have more threads than
there are cores, it assumes oversubscription and lets each thread sleep between two operations, although only one team
is busy at a time: a picture then took 1.5 times as long on two cores. Ending a team and starting it again costs some
milliseconds, so it is done between pictures and where one thread waits for others.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_TORCH_LIBGOMP = re.compile(r"/\S*/torch(?:\.libs|/lib)/libgomp[^/\s]*$", re.MULTILINE)
"""Matches the path of torch's own libgomp in a process's memory map; other packages bundle copies of their own."""
_PAUSE_SOFT = 1


def thread_team_releaser(maps: Path = Path("/proc/self/maps")) -> Callable[[], None]:
    """Return a function that ends the calling thread's team; it does nothing if torch does not use GNU OpenMP.

    Args:
        maps: The process's memory map, as Linux lists it; torch must be imported before.
    """
    try:
        found = _TORCH_LIBGOMP.search(maps.read_text())
    except OSError:  # not Linux
        return lambda: None
    pause = getattr(ctypes.CDLL(found.group()), "omp_pause_resource_all", None) if found else None
    if pause is None:
        return lambda: None
    return lambda: pause(_PAUSE_SOFT)
