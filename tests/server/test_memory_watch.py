from __future__ import annotations

import asyncio

import pytest

from safelight.errors import DatabaseBusyError
from safelight.jobs.service import Service
from safelight.server import memory_watch
from safelight.server.memory_watch import MemoryWatch, Sample

WORKER = {
    "host": "h",
    "pid": 1,
    "device": "cpu",
    "state": "idle",
    "checkpoints": [],
    "memory": 1e9,
    "started": 0.0,
}


def watched(service: Service, count: int) -> list[Sample]:
    """So many samples and perhaps more."""

    async def run() -> list[Sample]:
        async with MemoryWatch(lambda: service, every=0.01) as watch:
            while len(watch.samples) < count:
                await asyncio.sleep(0.005)
        return watch.samples

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_samples_have_everybody(service: Service) -> None:
    service.register_worker("w", WORKER)
    first, second, *_ = watched(service, 2)
    assert first.workers == {"w": 10**9}
    assert first.server > 1e6
    assert first.free > 1e6
    assert first.time < second.time


def test_they_are_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Sample] = []
    take = memory_watch._sample

    def noted(service: Service) -> Sample:
        taken.append(take(service))
        return taken[-1]

    async def run() -> list[Sample]:
        async with MemoryWatch(lambda: service, every=0.01) as watch:
            while len(taken) < 6:
                await asyncio.sleep(0.005)
        return watch.samples

    assert memory_watch.EVERY * memory_watch.KEPT == 3600
    monkeypatch.setattr(memory_watch, "KEPT", 3)
    monkeypatch.setattr(memory_watch, "_sample", noted)
    kept = asyncio.run(asyncio.wait_for(run(), 60))
    assert len(kept) == 3
    assert not [old for old in taken[:2] if old in kept]


def test_a_database_that_is_away_ends_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: Service) -> None:
        raise DatabaseBusyError

    monkeypatch.setattr(Service, "workers", busy)
    assert [sample.workers for sample in watched(service, 2)][:2] == [{}, {}]


def test_it_ends_at_once(service: Service) -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        async with MemoryWatch(lambda: service, every=3600):
            await asyncio.sleep(0.1)
            began = loop.time()
        return loop.time() - began

    assert asyncio.run(run()) < 2
