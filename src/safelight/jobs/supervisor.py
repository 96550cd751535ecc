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
from safelight.jobs.health_probe import HealthProbe
from safelight.logs import get_logger

MIN_BACKOFF, MAX_BACKOFF = 0.2, 30.0
"""Seconds before an exited child is restarted; doubled each time it exits early."""
STABLE_AFTER = 30.0
"""Seconds after which an exit no longer counts as early."""
SHUTDOWN_TIMEOUT = 20.0
"""Seconds that children have to exit before they are killed."""
POLL_INTERVAL = 0.05
"""Seconds between two checks of the children."""
RESPONSE_TIMEOUT, STARTUP_TIMEOUT = 10.0, 60.0
"""Seconds without a response after which a server is killed, and the limit until its first response."""
PERMANENT_STATUSES = (2, 3)
"""Exit statuses that say that starting again would not help: wrong settings, a port that is taken; a database that is
damaged or a newer Safelight's. The latter only from a child that dies young: later it may be anything."""
TEMPORARY_STATUS = 75
"""Exit status of a child that should be restarted because the error may be temporary: EX_TEMPFAIL of sysexits.h."""


@dataclass
class ChildProcess:
    """A process that the supervisor keeps running.

    Args:
        name: The name in the log.
        arguments: The arguments after ``safelight``.
        address: Address and port to probe; None for a process that does not listen.
    """

    name: str
    arguments: Sequence[str]
    address: tuple[str, int] | None = None
    health_probe: HealthProbe | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff: float = MIN_BACKOFF
    restart_at: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, "-m", "safelight", *self.arguments, "--supervised"]
        self.attach(subprocess.Popen(command, stdin=subprocess.PIPE))  # noqa: S603

    def attach(self, process: subprocess.Popen[bytes]) -> None:
        """Supervise a process that was just started."""
        self.process, self.started_at = process, time.monotonic()
        if self.address is not None:
            self.health_probe = HealthProbe(*self.address)
            self.health_probe.start()

    @property
    def unresponsive(self) -> bool:
        """Whether the process has not responded for too long."""
        if self.process is None or self.health_probe is None:
            return False
        return self.health_probe.silent_seconds > (
            RESPONSE_TIMEOUT if self.health_probe.has_answered else STARTUP_TIMEOUT
        )

    def failed_permanently(self, status: int, now: float) -> bool:
        """Whether a restart would end with this exit status again."""
        return status in PERMANENT_STATUSES and (status == 2 or now - self.started_at <= STABLE_AFTER)

    def poll(self, now: float) -> int | None:
        """Start the process if it is due, or record that it exited; returns the exit status of an exit."""
        if self.process is None:
            if now >= self.restart_at:
                self.start()
            return None
        status = self.process.poll()
        if status is None:
            return None
        self._clean_up(self.process)
        self.backoff = (
            MIN_BACKOFF if now - self.started_at > STABLE_AFTER else min(2 * self.backoff, MAX_BACKOFF)
        )
        self.restart_at = now + self.backoff
        return status

    def wait_or_kill(self, timeout: float) -> None:
        """Wait for the process to exit, as it was asked to, then kill it."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._clean_up(self.process)

    def kill(self) -> None:
        """Kill the process without asking it to exit: a process that hangs does not handle signals."""
        if self.process is not None:
            self.process.kill()
        self._stop_probe()

    def _clean_up(self, process: subprocess.Popen[bytes]) -> None:
        self._stop_probe()
        if process.stdin:
            process.stdin.close()
        self.process = None

    def _stop_probe(self) -> None:
        if self.health_probe is not None:
            self.health_probe.stop()
            self.health_probe = None


class Supervisor:
    """Keeps child processes running until it is stopped.

    Args:
        children: The processes to run.
    """

    def __init__(self, children: Sequence[ChildProcess]) -> None:
        self._children = list(children)
        self._stopping = False
        self._log = get_logger(__name__)

    def run(self) -> int:
        """Run the children until ``stop``; returns the exit status: a child's, if it failed permanently."""
        exit_status = 0
        while not self._stopping:
            time.sleep(POLL_INTERVAL)
            for child in self._children:
                if child.unresponsive:
                    self._log.error("silent: killed, to be started again", child=child.name)
                    child.kill()
                status = child.poll(time.monotonic())
                if status is None:
                    continue
                if child.failed_permanently(status, time.monotonic()):
                    self._log.error("died, and would again", child=child.name, status=status)
                    exit_status = status
                    self._stopping = True
                    break
                self._log.warning("died", child=child.name, status=status, again_in=child.backoff)
        self._stop_children()
        return exit_status

    def stop(self) -> None:
        """Let all children exit, then return from ``run``. A signal handler may call it."""
        self._stopping = True  # and nothing else: the interrupted code may hold any lock

    def _stop_children(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        for child in self._children:
            child.wait_or_kill(max(0.1, deadline - time.monotonic()))


def exit_with_parent() -> None:
    """In a child: exit when the supervisor has ended."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SHUTDOWN_TIMEOUT)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent").start()


@contextmanager
def exit_on_temporary_error() -> Iterator[None]:
    """In a child: exit with ``TEMPORARY_STATUS`` on an error that may be temporary.

    Raises:
        SystemExit: With ``TEMPORARY_STATUS``; the error has been logged.
    """
    try:
        yield
    except SafelightError as error:
        if not is_temporary(error):
            raise
        get_logger(__name__).warning("cannot go on now", error=error.message)
        raise SystemExit(TEMPORARY_STATUS) from error


def is_temporary(error: SafelightError) -> bool:
    """Whether an error may be temporary: an unreachable database server, a lock of another process, a full disk."""
    return isinstance(error, DatabaseBusyError | DatabaseOpenError | StorageFullError)
