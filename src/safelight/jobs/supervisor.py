"""The supervisor: starts the server and one worker per device, and restarts those that exit or stop responding.

Each child process reads from a pipe of the supervisor. When the supervisor ends, in whatever way, the pipe closes and
the child exits.
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
"""Seconds before an exited child is restarted; doubled each time it exits early."""
OLD = 30.0
"""Seconds after which an exit no longer counts as early."""
PATIENCE = 20.0
"""Seconds that children have to exit before they are killed."""
LOOK_EVERY = 0.05
"""Seconds between two checks of the children."""
SILENT, SILENT_AT_START = 10.0, 60.0
"""Seconds without a response after which a server is killed, and the limit until its first response."""
HOPELESS = (2, 3)
"""Exit statuses that say that starting again would not help: wrong settings, a port that is taken; a database that is
damaged or a newer Safelight's. The latter only from a child that dies young: later it may be anything."""
PASSING = 75
"""Exit status of a child that should be restarted because the error may be temporary: EX_TEMPFAIL of sysexits.h."""


@dataclass
class Child:
    """A process that the supervisor keeps running.

    Args:
        name: The name in the log.
        arguments: The arguments after ``safelight``.
        listens: Address and port to probe; None for a process that does not listen.
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
        """Start the process."""
        command = [sys.executable, "-m", "safelight", *self.arguments, "--supervised"]
        self.begin(subprocess.Popen(command, stdin=subprocess.PIPE))  # noqa: S603

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        """Supervise a process that was just started."""
        self.process, self.born = process, time.monotonic()
        if self.listens is not None:
            self.liveness = Liveness(*self.listens)
            self.liveness.begin()

    @property
    def silent(self) -> bool:
        """Whether the process has not responded for too long."""
        if self.process is None or self.liveness is None:
            return False
        return self.liveness.silent > (SILENT if self.liveness.answered else SILENT_AT_START)

    def hopeless(self, status: int, now: float) -> bool:
        """Whether a restart would end with this exit status again."""
        return status in HOPELESS and (status == 2 or now - self.born <= OLD)

    def look(self, now: float) -> int | None:
        """Start the process if it is due, or record that it exited; returns the exit status of an exit."""
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
        """Wait for the process to exit, as it was asked to, then kill it."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._bury(self.process)

    def kill(self) -> None:
        """Kill the process without asking it to exit: a process that hangs does not handle signals."""
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
    """Keeps child processes running until it is stopped.

    Args:
        children: The processes to run.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = list(children)
        self._stopping = False
        self._log = get_logger(__name__)

    def run(self) -> int:
        """Run the children until ``stop``; returns the exit status: a child's, if it failed permanently."""
        exit_status = 0
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
                    exit_status = status
                    self._stopping = True
                    break
                self._log.warning("died", child=child.name, status=status, again_in=child.pause)
        self._end()
        return exit_status

    def stop(self) -> None:
        """Let all children exit, then return from ``run``. A signal handler may call it."""
        self._stopping = True  # and nothing else: the interrupted code may hold any lock

    def _end(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for child in self._children:
            child.end(max(0.1, deadline - time.monotonic()))


def leave_with_parent() -> None:
    """In a child: exit when the supervisor has ended."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent").start()


@contextmanager
def telling_what_passes() -> Iterator[None]:
    """In a child: exit with ``PASSING`` on an error that may be temporary.

    Raises:
        SystemExit: With ``PASSING``; the error has been logged.
    """
    try:
        yield
    except SafelightError as error:
        if not passes(error):
            raise
        get_logger(__name__).warning("cannot go on now", error=error.message)
        raise SystemExit(PASSING) from error


def passes(error: SafelightError) -> bool:
    """Whether an error may be temporary: an unreachable database server, a lock of another process, a full disk."""
    return isinstance(error, DatabaseBusyError | DatabaseOpenError | StorageFullError)
