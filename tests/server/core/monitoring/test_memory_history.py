from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from safelight.errors import DatabaseBusyError
from safelight.jobs.queue_service import QueueService
from safelight.server.core.monitoring import memory_history
from safelight.server.core.monitoring.memory_history import MemorySampler, Sample

WORKER = {
    "host": "h",
    "pid": 1,
    "device": "cpu",
    "state": "idle",
    "checkpoints": [],
    "memory": 1e9,
    "started": datetime.fromtimestamp(0, UTC),
}


def take_samples(service: QueueService, count: int) -> list[Sample]:
    """Sample until there are at least so many samples."""

    async def run() -> list[Sample]:
        async with MemorySampler(lambda: service, every=0.01) as watch:
            while len(watch.samples) < count:
                await asyncio.sleep(0.005)
        return watch.samples

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_samples_include_server_and_workers(service: QueueService) -> None:
    service.register_worker("w", WORKER)
    first, second, *_ = take_samples(service, 2)
    assert first.workers == {"w": 10**9}
    assert first.server > 1e6
    assert first.free > 1e6
    assert first.time < second.time


def test_samples_are_bounded(service: QueueService, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Sample] = []
    take = memory_history._sample

    def noted(service: QueueService) -> Sample:
        taken.append(take(service))
        return taken[-1]

    async def run() -> list[Sample]:
        async with MemorySampler(lambda: service, every=0.01) as watch:
            while len(taken) < 6:
                await asyncio.sleep(0.005)
        return watch.samples

    assert memory_history.SAMPLE_INTERVAL * memory_history.MAX_SAMPLES == 3600
    monkeypatch.setattr(memory_history, "MAX_SAMPLES", 3)
    monkeypatch.setattr(memory_history, "_sample", noted)
    kept = asyncio.run(asyncio.wait_for(run(), 60))
    assert len(kept) == 3
    assert not [old for old in taken[:2] if old in kept]


def test_a_database_outage_is_survived(service: QueueService, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: QueueService) -> None:
        raise DatabaseBusyError

    monkeypatch.setattr(QueueService, "workers", busy)
    assert [sample.workers for sample in take_samples(service, 2)][:2] == [{}, {}]


def test_it_stops_at_once(service: QueueService) -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        async with MemorySampler(lambda: service, every=3600):
            await asyncio.sleep(0.1)
            began = loop.time()
        return loop.time() - began

    assert asyncio.run(run()) < 2
