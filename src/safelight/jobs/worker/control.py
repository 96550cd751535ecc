"""Commands from other processes: signals to running jobs, and loading and unloading of checkpoints."""

from __future__ import annotations

from safelight.errors import DatabaseError
from safelight.jobs.queue.store import JobStore
from safelight.jobs.worker.residency import Residency
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger


class CommandReader:
    """Reads commands and passes them on.

    Args:
        store: The store that holds the jobs' signals.
        running_jobs: The jobs that the worker is running.
        residency: Loads and unloads checkpoints.
    """

    def __init__(self, store: JobStore, running_jobs: RunningJobs, residency: Residency) -> None:
        self._store, self._running_jobs, self._residency = store, running_jobs, residency

    def read(self) -> None:
        """Read all new commands. If that fails, they are read the next time."""
        try:
            self.read_signals()
            self._residency.read_commands()
        except DatabaseError as error:
            get_logger(__name__).warning("commands not read", error=error.message)

    def read_signals(self) -> None:
        """Pass on the signals of the running jobs.

        Raises:
            DatabaseError: The signals cannot be read.
        """
        skip_counts = [(running, running.skip_count) for running in self._running_jobs.jobs]
        if not skip_counts:
            return
        signals = self._store.signals([running.job.id for running, _ in skip_counts])
        for running, skip_count in skip_counts:
            running.receive_signal(signals.get(running.job.id), skip_count)
