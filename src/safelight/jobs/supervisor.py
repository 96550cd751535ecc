"""The supervisor: starts the server and one worker for each device, and starts again what dies.

Each child is tied to it by a pipe: when the supervisor is gone, however it went, the pipe closes and the child leaves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from safelight.logs import logger

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds before a dead child is started again; doubled each time it dies young."""
OLD = 30.0
"""Seconds after which a child's death is no longer a death in youth."""
PATIENCE = 20.0
"""Seconds that children are given to leave before they are killed."""
LOOK_EVERY = 0.05
"""Seconds between two looks at the children."""
HOPELESS = 2
"""Exit status that says that starting again would not help: wrong settings, a port that is taken."""


@dataclass
class Child:
    """A process that is to be there always.

    Args:
        name: For the log.
        arguments: What follows the word safelight.
    """

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    born: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Begin a life."""
        command = [sys.executable, "-m", "safelight", *self.arguments, "--supervised"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
        self.born = time.monotonic()

    def look(self, now: float) -> int | None:
        """Start it if it is due, or note its death; returns the exit status of a death."""
        if self.process is None:
            if now >= self.due:
                self.start()
            return None
        status = self.process.poll()
        if status is None:
            return None
        self._bury(self.process)
        self.pause = FIRST_PAUSE if now - self.born > OLD else min(2 * self.pause, LONGEST_PAUSE)
        self.due = now + self.pause
        return status

    def end(self, seconds: float) -> None:
        """Wait so long for it to leave, as it was told to, then kill it."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._bury(self.process)

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin:
            process.stdin.close()
        self.process = None


class Supervisor:
    """Keeps children alive until it is told to stop.

    Args:
        children: What is to run.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = list(children)
        self._stopping = False
        self._log = logger(__name__)

    def run(self) -> int:
        """Keep everything running until ``stop``; returns the exit status, which is a child's if that is hopeless."""
        hopeless = 0
        while not self._stopping:
            time.sleep(LOOK_EVERY)
            for child in self._children:
                status = child.look(time.monotonic())
                if status is None:
                    continue
                self._log.warning("died", child=child.name, status=status, again_in=child.pause)
                if status == HOPELESS:
                    hopeless = status
                    self._stopping = True
        self._end()
        return hopeless

    def stop(self) -> None:
        """Let all children leave, then return from ``run``. May be called by a signal's handler."""
        self._stopping = True  # and nothing else: whoever was interrupted may hold any lock

    def _end(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for child in self._children:
            child.end(max(0.1, deadline - time.monotonic()))


def leave_with_parent() -> None:
    """In a child: leave when the supervisor is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent").start()
