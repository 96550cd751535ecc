"""How the OpenMP threads that torch computes with wait for each other: asleep, or with a moment of busy waiting.

By default a thread of GNU's OpenMP keeps its core busy while it waits, for milliseconds. Beside other busy processes
that uses up the time that the threads it waits for need: a picture then takes up to thirty times as long.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, in this process and its children, unless the user chose otherwise.

    Without effect on a process that has loaded torch: OpenMP reads the environment then.
    """
    if not any(variable in os.environ for variable in VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "passive"
