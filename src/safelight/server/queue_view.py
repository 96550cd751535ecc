"""A snapshot of the queue, read once a second for all clients; each client gets the part about its own jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from safelight.errors import DatabaseError
from safelight.jobs.ledger import Ledger
from safelight.jobs.outlook import Standing
from safelight.server.inbox import message

LOOK_EVERY = 1.0
"""Seconds between two reads of the queue while it changes or a job runs."""
MOST_JOBS = 1000
"""Maximum number of jobs in one message."""


class QueueView:
    """The queue as it was last read."""

    def __init__(self) -> None:
        self.changed = False
        """Whether a job has changed since the last read."""
        self._runs = False
        self._seen = -LOOK_EVERY
        self._standings: Sequence[Standing] = ()
        self._etas: dict[str, float] = {}

    def due(self) -> bool:
        """Whether to read the queue again; not while nothing changes and nothing runs."""
        return (self.changed or self._runs) and time.monotonic() - self._seen >= LOOK_EVERY

    async def look(self, ledger: Ledger) -> None:
        """Read the queue.

        Raises:
            DatabaseError: The queue cannot be read.
        """
        self.changed = False
        try:
            self._standings = await asyncio.to_thread(ledger.standings)
        except DatabaseError:
            self.changed = True
            raise
        self._seen = time.monotonic()
        self._runs = any(each.position is None for each in self._standings)
        self._etas = {each.id: each.eta for each in self._standings if each.eta is not None}

    def eta(self, job_id: str) -> float | None:
        """Seconds until a job ends, estimated at the last read; None if unknown."""
        eta = self._etas.get(job_id)
        return None if eta is None else round(max(0.0, eta - (time.monotonic() - self._seen)), 2)

    def text(self, scope: str | None) -> str:
        """The message with positions and estimates; of too many jobs, those that come first.

        Args:
            scope: The owner whose jobs to include; None for all owners.
        """
        theirs = [each for each in self._standings if scope in (None, each.owner)][:MOST_JOBS]
        return message("queue", positions=_positions(theirs), etas=_etas(theirs))


def _positions(standings: Iterable[Standing]) -> dict[str, int]:
    return {each.id: each.position for each in standings if each.position is not None}


def _etas(standings: Iterable[Standing]) -> dict[str, float]:
    return {each.id: round(each.eta, 2) for each in standings if each.eta is not None}
