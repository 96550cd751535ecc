"""Commands from other processes: signals to running jobs, and loading and unloading of checkpoints."""

from __future__ import annotations

from safelight.errors import DatabaseError
from safelight.jobs.queue.store import JobStore
from safelight.jobs.worker.residency import Residency
from safelight.jobs.worker.running_jobs import RunningJobs
from safelight.logs import get_logger


class Control:
    """Reads commands and passes them on.

    Args:
        ledger: The store that holds the jobs' signals.
        company: The jobs that the worker is running.
        keeper: Loads and unloads checkpoints.
    """

    def __init__(self, ledger: JobStore, company: RunningJobs, keeper: Residency) -> None:
        self._ledger, self._company, self._keeper = ledger, company, keeper

    def read(self) -> None:
        """Read all new commands. If that fails, they are read the next time."""
        try:
            self.read_signals()
            self._keeper.listen()
        except DatabaseError as error:
            get_logger(__name__).warning("commands not read", error=error.message)

    def read_signals(self) -> None:
        """Pass on the signals of the running jobs.

        Raises:
            DatabaseError: The signals cannot be read.
        """
        skip_counts = [(running, running.skips) for running in self._company.members]
        if not skip_counts:
            return
        signals = self._ledger.signals([running.job.id for running, _ in skip_counts])
        for running, skip_count in skip_counts:
            running.hear(signals.get(running.job.id), skip_count)
