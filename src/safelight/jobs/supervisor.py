"""The supervisor: starts the server and one worker for each device, and starts again what dies or falls silent.

Each child is tied to it by a pipe: when the supervisor is gone, however it went, the pipe closes and the child leaves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from safelight.errors import DatabaseBusyError, DatabaseOpenError, SafelightError, StorageFullError
from safelight.jobs.health_probe import Liveness
from safelight.logs import get_logger

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds before a dead child is started again; doubled each time it dies young."""
OLD = 30.0
"""Seconds after which a child's death is no longer a death in youth."""
PATIENCE = 20.0
"""Seconds that children are given to leave before they are killed."""
LOOK_EVERY = 0.05
"""Seconds between two looks at the children."""
SILENT, SILENT_AT_START = 10.0, 60.0
"""Seconds without an answer after which a server is killed, and those it is given until its first."""
HOPELESS = (2, 3)
"""Exit statuses that say that starting again would not help: wrong settings, a port that is taken; a database that is
damaged or a newer Safelight's. The latter only from a child that dies young: later it may be anything."""
PASSING = 75
"""Exit status of a child that is to be started again, since what is wrong may pass: sysexits.h calls it EX_TEMPFAIL."""


@dataclass
class Child:
    """A process that is to be there always.

    Args:
        name: For the log.
        arguments: What follows the word safelight.
        listens: Address and port, where it is to answer.
    """

    name: str
    arguments: Sequence[str]
    listens: tuple[str, int] | None = None
    liveness: Liveness | None = None
    process: subprocess.Popen[bytes] | None = None
    born: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Begin a life."""
        command = [sys.executable, "-m", "safelight", *self.arguments, "--supervised"]
        self.begin(subprocess.Popen(command, stdin=subprocess.PIPE))  # noqa: S603

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        """Look after a process that was just started."""
        self.process, self.born = process, time.monotonic()
        if self.listens is not None:
            self.liveness = Liveness(*self.listens)
            self.liveness.begin()

    @property
    def silent(self) -> bool:
        """Whether it has given no answer for too long."""
        if self.process is None or self.liveness is None:
            return False
        return self.liveness.silent > (SILENT if self.liveness.answered else SILENT_AT_START)

    def hopeless(self, status: int, now: float) -> bool:
        """Whether a death with this exit status, just noted, would only come again."""
        return status in HOPELESS and (status == 2 or now - self.born <= OLD)

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

    def kill(self) -> None:
        """End it without a word: one that hangs hears none."""
        if self.process is not None:
            self.process.kill()
        self._ask_no_more()

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        self._ask_no_more()
        if process.stdin:
            process.stdin.close()
        self.process = None

    def _ask_no_more(self) -> None:
        if self.liveness is not None:
            self.liveness.end()
            self.liveness = None


class Supervisor:
    """Keeps children alive until it is told to stop.

    Args:
        children: What is to run.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = list(children)
        self._stopping = False
        self._log = get_logger(__name__)

    def run(self) -> int:
        """Keep everything running until ``stop``; returns the exit status, which is a child's if that is hopeless."""
        hopeless = 0
        while not self._stopping:
            time.sleep(LOOK_EVERY)
            for child in self._children:
                if child.silent:
                    self._log.error("silent: killed, to be started again", child=child.name)
                    child.kill()
                status = child.look(time.monotonic())
                if status is None:
                    continue
                if child.hopeless(status, time.monotonic()):
                    self._log.error("died, and would again", child=child.name, status=status)
                    hopeless = status
                    self._stopping = True
                    break
                self._log.warning("died", child=child.name, status=status, again_in=child.pause)
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


@contextmanager
def telling_what_passes() -> Iterator[None]:
    """In a child: leave with a status of its own where starting again may help.

    Raises:
        SystemExit: With ``PASSING``; the error is said before.
    """
    try:
        yield
    except SafelightError as error:
        if not passes(error):
            raise
        get_logger(__name__).warning("cannot go on now", error=error.message)
        raise SystemExit(PASSING) from error


def passes(error: SafelightError) -> bool:
    """Whether an error may be gone the next time: a server that is away, a lock of others, a full disk."""
    return isinstance(error, DatabaseBusyError | DatabaseOpenError | StorageFullError)
