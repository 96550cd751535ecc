"""The OpenMP threads that torch computes with on the CPU: when they end, and how they wait for each other.

GNU OpenMP keeps a thread team for each thread that has ever computed. Once all teams together have more threads than
there are cores, it assumes oversubscription and lets each thread sleep between two operations, although only one team
is busy at a time: a picture then took 1.5 times as long on two cores. Ending a team and starting it again costs some
milliseconds, so it is done between pictures and where one thread waits for others.

Beside other busy processes sleeping is right, and busy waiting is not: it uses up the time that the threads it waits
for need, and a picture takes several times as long. OpenMP reads from the environment how threads wait, once, when
torch is loaded; but more threads than cores can be had at any time, by a second team that does nothing.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from safelight.runtime.machine import usable_cores

_TORCH_LIBGOMP = re.compile(r"/\S*/torch(?:\.libs|/lib)/libgomp[^/\s]*$", re.MULTILINE)
"""Matches the path of torch's own libgomp in a process's memory map; other packages bundle copies of their own."""
_PAUSE_SOFT = 1
WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""The user's choice of how threads wait, which nothing here changes."""
INTERVAL = 0.2
"""Seconds over which the use of the cores is measured; the kernel counts in hundredths of a second."""
BUSY_CORES = 0.25
"""How many cores others may use of those that the threads need, before threads sleep while they wait. On two cores
busy waiting makes a starter picture 1.7 times as fast alone, and 0.4 times as fast beside a process that keeps one
core busy."""


def torch_libgomp(maps: Path = Path("/proc/self/maps")) -> ctypes.CDLL | None:
    """Torch's own GNU OpenMP; None if it computes with another library.

    Args:
        maps: The process's memory map, as Linux lists it; torch must be imported before.
    """
    try:
        found = _TORCH_LIBGOMP.search(maps.read_text())
    except OSError:  # not Linux
        return None
    return ctypes.CDLL(found.group()) if found else None


def thread_team_releaser(maps: Path = Path("/proc/self/maps")) -> Callable[[], None]:
    """Return a function that ends the calling thread's team; it does nothing if torch does not use GNU OpenMP.

    Args:
        maps: See ``torch_libgomp``.
    """
    pause = getattr(torch_libgomp(maps), "omp_pause_resource_all", None)
    if pause is None:
        return lambda: None
    return lambda: pause(_PAUSE_SOFT)


class WaitPolicy:
    """Lets threads sleep while they wait for each other, as long as other processes need the cores.

    It does nothing where torch does not use GNU OpenMP, and where the environment says how threads wait. Not
    thread-safe.

    Args:
        others: Returns the cores that other processes have used on average since the last call.
        clock: Returns seconds.
    """

    def __init__(
        self, others: Callable[[], float] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        gomp = None if any(name in os.environ for name in WAIT_VARIABLES) else torch_libgomp()
        self._parallel = getattr(gomp, "GOMP_parallel", None)
        self._others, self._clock = others or CoresInUse().by_others, clock
        self._measured = clock()
        self._wake: threading.Event | None = None

    @property
    def sleeps(self) -> bool:
        """Whether threads sleep while they wait."""
        return self._wake is not None

    def adjust(self) -> None:
        """Measure what others use, if the last measurement is old enough, and let threads wait accordingly.

        Takes less than a millisecond.
        """
        now = self._clock()
        if self._parallel is None or now - self._measured < INTERVAL:
            return
        self._measured = now
        threads, cores = torch.get_num_threads(), usable_cores()
        should_sleep = threads > 1 and self._others() > cores - threads + BUSY_CORES
        if should_sleep and self._wake is None:
            self._wake = threading.Event()
            arguments = (self._parallel, cores - threads + 2, self._wake)
            threading.Thread(target=_keep_idle_team, args=arguments, daemon=True).start()
            weakref.finalize(self, self._wake.set)
        elif not should_sleep and self._wake is not None:
            self._wake.set()
            self._wake = None


def _keep_idle_team(parallel: Callable[..., object], size: int, end: threading.Event) -> None:
    """In a thread of its own, which owns the team: with it, there is a thread more than there are cores."""
    nothing = ctypes.CDLL(None).free  # with a null pointer, as C defines it
    parallel(nothing, None, size, 0)
    end.wait()


class CoresInUse:
    """The use of the cores that this process may use, between two readings."""

    def __init__(self) -> None:
        self._busy, self._own, self._read = _busy_seconds(), time.process_time(), time.monotonic()

    def by_others(self) -> float:
        """The cores that other processes, children among them, have used on average since the last call."""
        busy, own, now = _busy_seconds(), time.process_time(), time.monotonic()
        seconds = (busy - self._busy) - (own - self._own)
        elapsed = max(now - self._read, 0.01)
        self._busy, self._own, self._read = busy, own, now
        return max(0.0, seconds / elapsed)


def _busy_seconds() -> float:
    """Seconds for which the cores that this process may use were in use, since the machine's start.

    Without processes of low priority, which give way, unless this is one; with the time that a virtual machine's host
    gave to others.
    """
    cores = psutil.cpu_times(percpu=True)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(cores))
    kinds = ["user", "system", "irq", "softirq", "steal"]
    if hasattr(os, "nice") and os.nice(0) > 0:
        kinds.append("nice")
    return sum(getattr(cores[n], kind, 0.0) for n in usable if n < len(cores) for kind in kinds)
