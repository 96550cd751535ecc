"""How much memory the server and its workers have taken: the last hour, sampled by one task and kept in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import psutil

from safelight.errors import DatabaseError
from safelight.jobs.service import Service
from safelight.logs import logger

EVERY, KEPT = 10.0, 360
"""Seconds between two samples, and how many are kept: an hour's."""
GRACE = 1.0
"""Seconds that a sample on its way is given at the end."""


@dataclass(frozen=True)
class Sample:
    """What was taken at one time, in bytes.

    Args:
        time: When.
        server: Resident memory of the process that answers requests.
        workers: That of each worker, as they said last.
        free: What programs can still have of this machine's memory.
    """

    time: datetime
    server: int
    workers: dict[str, int]
    free: int


class MemoryWatch:
    """Takes samples while it is open.

    Args:
        service: Knows the workers; asked when the first sample is taken.
        every: Seconds between two samples.
    """

    def __init__(self, service: Callable[[], Service], every: float = EVERY) -> None:
        self._service, self.every = service, every
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End; a sample on its way uses the database, which is closed afterwards."""
        self._over.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=GRACE)
            self._task.cancel()

    @property
    def samples(self) -> list[Sample]:
        """Those of the last hour, the newest last."""
        return list(self._samples)

    async def _watch(self) -> None:
        while not self._over.is_set():
            self._samples.append(await asyncio.to_thread(_sample, self._service()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self.every)


def _sample(service: Service) -> Sample:
    try:
        workers = {worker["name"]: int(worker["memory"]) for worker in service.workers()}
    except DatabaseError as error:
        logger(__name__).warning("workers not known", error=error.message)
        workers = {}
    server, free = psutil.Process().memory_info().rss, psutil.virtual_memory().available
    return Sample(datetime.now(UTC), server, workers, free)
