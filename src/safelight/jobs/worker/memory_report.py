"""What a worker reports of its memory: the device, the last picture of each family as planned and as measured."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safelight.generation.artifact import MemoryUse
from safelight.runtime.devices.memory import DeviceMemory

if TYPE_CHECKING:
    from safelight.generation.memory_steps import OtherDevice
    from safelight.runtime.devices.summary import DeviceSummary

MAX_FAMILIES = 8
"""Families that are reported, the most recent ones: so the number of metrics is bounded."""


class MemoryReport:
    """Collects the figures; threads may share it."""

    def __init__(self) -> None:
        self._families: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, family: str, memory: MemoryUse) -> None:
        """Add the memory that a picture took."""
        stages = [
            {"family": family, "stage": stage, "planned": planned, "measured": measured}
            for stage, (planned, measured) in memory.by_stage().items()
        ]
        with self._lock:
            self._families[family] = stages
            self._families.move_to_end(family)
            if len(self._families) > MAX_FAMILIES:
                self._families.popitem(last=False)

    def to_dict(
        self,
        device: DeviceMemory,
        shortages: int,
        others: Sequence[OtherDevice] = (),
        devices: Sequence[DeviceSummary] = (),
        notes: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The report for JSON.

        Args:
            device: The denoiser's device, and what may be used of it now.
            others: The same of the devices of other networks.
            devices: All devices of the machine.
            notes: A sentence on each device whose place the CPU has taken.
            shortages: How often the memory ran short while a picture was generated.
        """
        with self._lock:
            stages = [stage for stages in reversed(self._families.values()) for stage in stages]
        return {
            "device": asdict(device),
            "others": [asdict(other) for other in others],
            "devices": [each.to_dict() for each in devices],
            "notes": list(notes),
            "shortages": shortages,
            "stages": stages,
        }
