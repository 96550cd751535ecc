"""Choose how a picture fits the memory, within what the settings and the family permit; without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from safelight.models.families import Family
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.devices.placement import Group, group_of
from safelight.runtime.memory_plan.planner import MemoryPlan, PictureCost, make_memory_plan
from safelight.settings import Settings


@dataclass(frozen=True)
class OtherDevice:
    """A device beside the denoiser's.

    Args:
        memory: Its memory.
        groups: What is on it.
    """

    memory: DeviceMemory
    groups: tuple[Group, ...]


def choose_steps(
    cost: Callable[[str, str], PictureCost],
    family: Family,
    device: DeviceMemory,
    settings: Settings,
    others: Sequence[OtherDevice] = (),
) -> MemoryPlan:
    """Plan the memory of a picture.

    Args:
        cost: Returns what the picture takes on a kind of device in a precision; "" is that of the settings.
        family: The checkpoint's family.
        device: The denoiser's device; it need not be in this machine.
        settings: The steps that may be taken, the precision, the budget.
        others: The other devices.
    """
    apart = {group for other in others for group in other.groups}

    def within_budget(precision: str) -> PictureCost:
        counted = cost(device.kind, precision).of(lambda name: group_of(name) not in apart)
        # The setting memory_budget is about networks and pictures, not about what the allocator keeps beside them.
        return replace(counted, slack=0) if settings.memory_budget else counted

    made = make_memory_plan(
        within_budget,
        device,
        settings.memory_steps,
        free_precision=settings.generation_precision == "auto" and "bf16" in family.precision.denoiser,
    )
    for other in others:
        made = made.joined(_plan_other(cost, other, settings), other.memory.kind, _order(cost, device))
    return made


def _plan_other(
    cost: Callable[[str, str], PictureCost], other: OtherDevice, settings: Settings
) -> MemoryPlan:
    """The plan of the networks on another device; less precision is chosen for the denoiser alone."""

    def own_cost(precision: str) -> PictureCost:
        return cost(other.memory.kind, precision).of(lambda name: group_of(name) in other.groups)

    return make_memory_plan(own_cost, other.memory, settings.memory_steps)


def _order(cost: Callable[[str, str], PictureCost], device: DeviceMemory) -> list[str]:
    """The names of a picture's stages in the order in which they run."""
    return [stage.name for stage in cost(device.kind, "").stages]
