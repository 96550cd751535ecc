"""A snapshot of the queue, read once a second for all clients; each client gets the part about its own jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from safelight.errors import DatabaseError
from safelight.jobs.queue.eta import JobEstimate
from safelight.jobs.queue.state import QueueState
from safelight.jobs.queue.store import JobStore
from safelight.server.core.events.coalescing_queue import encode_message

REFRESH_INTERVAL = 1.0
"""Seconds between two reads of the queue while it changes or a job runs."""
MAX_JOBS = 1000
"""Maximum number of jobs in one message."""


class QueueSnapshot:
    """The queue as it was last read."""

    def __init__(self) -> None:
        self.changed = False
        """Whether a job has changed since the last read."""
        self.notified = False
        """Whether to look for a change of the queue as a whole: it was paused, resumed, reordered or cleared."""
        self._state: QueueState | None = None
        self._running = False
        self._refreshed = -REFRESH_INTERVAL
        self._entries: Sequence[JobEstimate] = ()
        self._etas: dict[str, float] = {}

    def is_due(self) -> bool:
        """Whether to read the queue again; not while nothing changes and nothing runs."""
        return (self.changed or self._running) and time.monotonic() - self._refreshed >= REFRESH_INTERVAL

    async def read_state(self, store: JobStore) -> bool:
        """Look for a change of the queue as a whole; returns whether jobs were cleared from the lists.

        Raises:
            DatabaseError: The queue cannot be read.
        """
        self.notified = False
        try:
            state = await asyncio.to_thread(store.queue_state)
        except DatabaseError:
            self.notified = True
            raise
        before, self._state = self._state, state
        if before is None or before.changes != state.changes:
            self.changed = True
        return before is not None and before.clears != state.clears

    async def refresh(self, store: JobStore) -> None:
        """Read the queue.

        Raises:
            DatabaseError: The queue cannot be read.
        """
        self.changed = False
        try:
            self._entries = await asyncio.to_thread(store.estimates)
        except DatabaseError:
            self.changed = True
            raise
        self._refreshed = time.monotonic()
        self._running = any(each.position is None for each in self._entries)
        self._etas = {each.id: each.eta for each in self._entries if each.eta is not None}

    def eta(self, job_id: str) -> float | None:
        """Seconds until a job ends, estimated at the last read; None if unknown."""
        eta = self._etas.get(job_id)
        return None if eta is None else round(max(0.0, eta - (time.monotonic() - self._refreshed)), 2)

    def message_for(self, scope: str | None) -> str:
        """The message with positions and estimates; of too many jobs, those that come first.

        Args:
            scope: The owner whose jobs to include; None for all owners.
        """
        theirs = [each for each in self._entries if scope in (None, each.owner)][:MAX_JOBS]
        paused = self._state is not None and self._state.paused
        return encode_message("queue", positions=_positions(theirs), etas=_etas(theirs), paused=paused)


def _positions(entries: Iterable[JobEstimate]) -> dict[str, int]:
    return {each.id: each.position for each in entries if each.position is not None}


def _etas(entries: Iterable[JobEstimate]) -> dict[str, float]:
    return {each.id: round(each.eta, 2) for each in entries if each.eta is not None}
