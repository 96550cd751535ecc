"""Plans of the memory for checkpoints on a worker's device; what a picture takes is counted in a process of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from safelight.generation.memory_cost_child import CountedPicture, count_in_child
from safelight.generation.memory_steps import OtherDevice, choose_steps
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.memory_plan.planner import MemoryPlan, PictureCost
from safelight.settings import Settings

MAX_COUNTED = 64
"""Costs that are kept: of a checkpoint as its files are now, in a size, on a kind of device, in a precision, with what
the precision of a run depends on."""
Size = tuple[int | None, int | None]
_Basis = tuple[str, int]
_Key = tuple[Checkpoint, Size, str, str, _Basis]


class _NotCountedError(Exception):
    """What a picture takes is not known yet."""

    def __init__(self, key: _Key) -> None:
        super().__init__()
        self.key = key


class MemoryPlans:
    """Makes plans. What was counted is kept, so that another plan for it takes no time, whatever is free by then.

    Args:
        settings: All settings.
        count: Counts what a picture takes.
    """

    def __init__(self, settings: Settings, count: Callable[..., CountedPicture] = count_in_child) -> None:
        self._settings, self._count = settings, count
        self._counted: OrderedDict[_Key, CountedPicture] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()  # counting takes a core for seconds
        self._counting: asyncio.Task[None] | None = None

    async def plan(
        self, checkpoint: Checkpoint, size: Size, device: DeviceMemory, others: Sequence[OtherDevice] = ()
    ) -> tuple[tuple[int, int], MemoryPlan]:
        """Width and height in pixels, and the plan of the memory.

        Args:
            checkpoint: The checkpoint.
            size: Width and height; None for the checkpoint's default.
            device: The denoiser's device, and what is free on it now.
            others: The devices of other networks.

        Raises:
            SafelightError: The checkpoint cannot be used, or not in this size.
        """
        while True:
            try:
                return self._plan(checkpoint, size, device, others)
            except _NotCountedError as missing:
                async with self._one_at_a_time:
                    await self._count_once(missing.key)

    async def _count_once(self, key: _Key) -> None:
        """Count, unless another request did. A count that has begun goes on when its request is cancelled.

        Its process could not be stopped, and a page that is loaded again asks for the same; without this each request
        that was cancelled left a process behind, and its thread, of which an owner has a few.
        """
        if self._counting is not None:
            await asyncio.wait([self._counting])
        if key not in self._counted:
            self._counting = asyncio.create_task(self._add(key))
            self._counting.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.shield(self._counting)

    def _plan(
        self, checkpoint: Checkpoint, size: Size, device: DeviceMemory, others: Sequence[OtherDevice]
    ) -> tuple[tuple[int, int], MemoryPlan]:
        basis = self._settings.generation_quality, _last_measured(self._settings.cache_folder)

        def find(kind: str, precision: str) -> CountedPicture:
            key = checkpoint, size, kind, precision, basis
            if key not in self._counted:
                raise _NotCountedError(key)
            self._counted.move_to_end(key)
            return self._counted[key]

        def cost(kind: str, precision: str) -> PictureCost:
            return find(kind, precision).cost

        usual = find(device.kind, "")
        run = self._settings.model_copy(update={"generation_precision": usual.generation_precision})
        made = choose_steps(cost, checkpoint.family, device, run, others)
        return (usual.width, usual.height), made

    async def _add(self, key: _Key) -> None:
        checkpoint, size, kind, precision, _ = key
        self._counted[key] = await asyncio.to_thread(
            self._count, self._settings, checkpoint.name, size, kind, precision
        )
        if len(self._counted) > MAX_COUNTED:
            self._counted.popitem(last=False)


def _last_measured(cache: Path) -> int:
    """When a measurement of this machine's arithmetic was last written, in nanoseconds; 0 if there is none."""
    try:
        return (cache / "probe").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
