"""Memory use of the server and its workers in the last hour, sampled by one task."""

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
from safelight.jobs.queue_service import QueueService
from safelight.logs import get_logger

SAMPLE_INTERVAL, MAX_SAMPLES = 10.0, 360
"""Seconds between two samples, and the number of samples to keep: one hour."""
STOP_TIMEOUT = 1.0
"""Seconds that a running sample gets to finish at shutdown."""


@dataclass(frozen=True)
class Sample:
    """Memory use at one time, in bytes.

    Args:
        time: The time of the sample.
        server: Resident memory of the server process.
        workers: Resident memory of each worker, as it last reported.
        free: Available memory of this machine.
    """

    time: datetime
    server: int
    workers: dict[str, int]
    free: int


class MemorySampler:
    """Takes samples while it is open.

    Args:
        service: Returns the service that lists the workers; called at each sample.
        every: Seconds between two samples.
    """

    def __init__(self, service: Callable[[], QueueService], every: float = SAMPLE_INTERVAL) -> None:
        self._service, self.every = service, every
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start sampling."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, after a running sample: it uses the database, which is closed next."""
        self._stopped.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=STOP_TIMEOUT)
            self._task.cancel()

    @property
    def samples(self) -> list[Sample]:
        """The samples of the last hour, the newest last."""
        return list(self._samples)

    async def _run(self) -> None:
        while not self._stopped.is_set():
            self._samples.append(await asyncio.to_thread(_sample, self._service()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self.every)


def _sample(service: QueueService) -> Sample:
    try:
        workers = {worker["name"]: int(worker["memory"]) for worker in service.workers()}
    except DatabaseError as error:
        get_logger(__name__).warning("workers not known", error=error.message)
        workers = {}
    server, free = psutil.Process().memory_info().rss, psutil.virtual_memory().available
    return Sample(datetime.now(UTC), server, workers, free)
