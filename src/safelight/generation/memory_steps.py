"""Choose how a picture fits the memory, within what the settings and the family permit; without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from safelight.models.families import Family
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.memory_plan.planner import MemoryPlan, PictureCost, make_memory_plan
from safelight.settings import Settings


def choose_steps(
    cost: Callable[[str], PictureCost], family: Family, device: DeviceMemory, settings: Settings
) -> MemoryPlan:
    """Plan the memory of a picture.

    Args:
        cost: Returns what the picture takes in a precision; "" is that of the settings.
        family: The checkpoint's family.
        device: The device; it need not be in this machine.
        settings: The steps that may be taken, the precision, the budget.
    """

    def within_budget(precision: str) -> PictureCost:
        counted = cost(precision)
        # The setting memory_budget is about networks and pictures, not about what the allocator keeps beside them.
        return replace(counted, slack=0) if settings.memory_budget else counted

    return make_memory_plan(
        within_budget,
        device,
        settings.memory_steps,
        free_precision=settings.generation_precision == "auto" and "bf16" in family.precision.denoiser,
    )
