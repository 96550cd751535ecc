"""Plans over a cost that is counted once for a checkpoint, a size and a kind of device."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from safelight.generation.memory_cost_child import CountedPicture
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.memory_plan.planner import ComponentCost, PictureCost, StageCost
from safelight.server.core.monitoring.memory_plans import MemoryPlans
from safelight.settings import Settings

COST = PictureCost("fp32", {"unet": ComponentCost(800)}, (StageCost("denoise", "unet", 300),))


def test_a_cost_is_counted_once_and_planned_for_what_is_free_now(tmp_path: Path) -> None:
    counted: list[tuple[object, ...]] = []

    def count(_: Settings, *what: Any) -> CountedPicture:
        counted.append(what)
        return CountedPicture(64, 32, COST)

    async def run() -> None:
        plans, starter = MemoryPlans(Settings(home=tmp_path), count), find_checkpoint("starter", tmp_path)
        wide, narrow = DeviceMemory("cuda", 2000, 1500, 0), DeviceMemory("cuda", 2000, 1000, 0)
        one, two = await asyncio.gather(*(plans.plan(starter, (None, None), wide) for _ in range(2)))
        assert one == two
        assert one[0] == (64, 32)
        assert one[1].fits
        assert (one[1].peak, one[1].usable) == (1100, 1500)
        (_, short) = await plans.plan(starter, (None, None), narrow)
        assert not short.fits
        assert counted == [("starter", (None, None), "cuda", "")]
        await plans.plan(starter, (128, 64), wide)
        assert len(counted) == 2

    asyncio.run(run())


def test_a_count_goes_on_when_its_request_is_cancelled(tmp_path: Path) -> None:
    began, may_end, counted = threading.Event(), threading.Event(), list[object]()

    def count(_: Settings, *what: Any) -> CountedPicture:
        counted.append(what)
        began.set()
        assert may_end.wait(60)
        return CountedPicture(64, 32, COST)

    async def run() -> None:
        plans, starter = MemoryPlans(Settings(home=tmp_path), count), find_checkpoint("starter", tmp_path)
        device = DeviceMemory("cuda", 2000, 1500, 0)
        left = asyncio.create_task(plans.plan(starter, (None, None), device))
        await asyncio.to_thread(began.wait, 60)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        others = [asyncio.create_task(plans.plan(starter, (None, None), device)) for _ in range(3)]
        await asyncio.sleep(0)
        may_end.set()
        assert [size for size, _ in await asyncio.gather(*others)] == [(64, 32)] * 3
        assert len(counted) == 1

    asyncio.run(run())


def test_a_plan_follows_what_was_measured_of_the_machine(tmp_path: Path) -> None:
    counted: list[str] = []

    def count(settings: Settings, *what: Any) -> CountedPicture:
        counted.append(what[-1])
        measured = (settings.cache_folder / "probe").exists()
        return CountedPicture(64, 32, COST, "bf16" if measured else "auto")

    async def run() -> None:
        settings = Settings(home=tmp_path)
        plans, starter = MemoryPlans(settings, count), find_checkpoint("starter", tmp_path)
        little = DeviceMemory("cpu", 2000, 100, 2000)
        await plans.plan(starter, (None, None), little)
        assert counted == ["", "bf16"]  # less precision is a step to fit the memory
        (settings.cache_folder / "probe").mkdir(parents=True)
        await plans.plan(starter, (None, None), little)
        assert counted == ["", "bf16", ""]  # it is in bf16 already

    asyncio.run(run())
