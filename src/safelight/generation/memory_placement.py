"""Where the networks of a run are kept: all in memory, or as a plan of the memory says; and less after a shortage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from safelight.errors import MemoryBudgetError
from safelight.generation.autoencoder import decodes_with_mask
from safelight.generation.memory_planning import other_devices, plan_memory, planned_checkpoint
from safelight.generation.memory_steps import OtherDevice
from safelight.generation.memory_tiling import tiled_call
from safelight.generation.plan import Plan
from safelight.generation.record import LESS_PRECISION_NOTE
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.models.checkpoints.loading import CheckpointParts, pixels_per_latent
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.component import Component, ComponentSource, parameter_names
from safelight.runtime.devices import device_of
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.devices.placement import ComponentDevices
from safelight.runtime.memory_plan.attention import SlicedAttention
from safelight.runtime.memory_plan.forms import NetworkForm
from safelight.runtime.memory_plan.phases import LeasedNetwork, Phases
from safelight.runtime.memory_plan.planner import MemoryPlan, Step
from safelight.runtime.pool import ModelPool
from safelight.settings import Settings

SMALLER = (0.75, 0.9, 0.97)
"""The shares of what the last plan took that the next one may take after a shortage, in the order in which they are
tried."""
CERTAIN = 2.5
"""A picture is not counted if so many times the estimate of its decoding fit beside the networks."""
SPARE = 512 * 2**20
"""Bytes that must also fit then."""

_NOTES: Mapping[Step, str] = {
    "tiling": "To fit the memory, the autoencoder worked in tiles: tones may differ a little between them.",
    "sliced-attention": "To fit the memory, attention was computed in slices.",
    "bf16": LESS_PRECISION_NOTE,
    "int8": "To fit the memory, weights had eight bits.",
}
"""Notes for the record on the steps that change the picture."""

_SHORTAGE_NOTE = (
    "The memory ran short: from this picture or an earlier one of the request on, less of it was taken."
)

Context = Callable[[], AbstractContextManager[object]]
Describe = Callable[[Checkpoint, Settings, Mapping[str, NetworkForm]], CheckpointParts]
"""Describes a checkpoint in the precisions of some settings, with networks in certain forms."""

_log = logging.getLogger(__name__)


@dataclass
class Placement:
    """Where a run's networks are kept.

    Args:
        checkpoint: The checkpoint.
        plan: What is generated.
        beside: Bytes of the networks that are leased with the checkpoint.
        parts: The checkpoint's networks.
        settings: The precisions and devices of the run, and the steps that may be taken.
        devices: Where the networks are.
        memory: The plan of the memory; None where all certainly fits.
        room: Bytes to keep free beside the networks for a picture, where all networks are in memory.
        notes: For the record.
        usable: Bytes that all networks in memory and the picture may take, as far as idle networks can be evicted.
        is_short: Whether the memory ran short during a picture, so that the next one is to take less.
        derived: Bytes of what is made of the networks and kept beside them, such as weights that adapters change; 0
            where there is no room for it.
    """

    checkpoint: Checkpoint
    plan: Plan
    beside: int
    parts: CheckpointParts
    settings: Settings
    devices: ComponentDevices
    memory: MemoryPlan | None = None
    room: int = 0
    notes: tuple[str, ...] = field(default=())
    usable: int | None = None
    is_short: bool = False
    derived: int = 0

    @property
    def in_phases(self) -> bool:
        """Whether the networks are in memory one after the other."""
        return self.memory is not None and self.memory.phases

    @property
    def peak(self) -> int:
        """Bytes that it takes of the denoiser's device at most, as planned or estimated."""
        weights = weights_on(self.parts)
        return self.beside + self.derived + (weights + self.room if self.memory is None else self.memory.peak)


class Placer:
    """Decides where networks are kept.

    Args:
        settings: The budget.
        device: The denoiser's device.
        pool: The networks in memory.
        describe: Describes checkpoints.
        building: A context in which networks are built without weights: meanwhile no other thread may load one.

    Attributes:
        shortages: How often the memory ran short while a picture was generated.
    """

    def __init__(
        self,
        settings: Settings,
        device: torch.device,
        pool: ModelPool,
        describe: Describe,
        building: Context = nullcontext,
    ) -> None:
        self._settings, self._device, self._pool = settings, device, pool
        self._describe, self._building = describe, building
        self.shortages = 0

    def memory(self) -> DeviceMemory:
        """The device, and what may be used of it now."""
        found = device_of(self._device).usable_memory(self._settings.memory_budget, self._pool.loaded_bytes)
        return DeviceMemory(found.kind, found.total, min(found.usable, self._pool.budget), found.host)

    def others(self, devices: ComponentDevices) -> list[OtherDevice]:
        """The devices beside the denoiser's, and what may be used of them now."""
        return other_devices(devices, self._pool.bytes_elsewhere)

    def can_be_resident(self, parts: CheckpointParts, devices: ComponentDevices) -> bool:
        """Whether all networks of a checkpoint may be in memory at once, each on its device."""
        found = {"": self.memory()} | {
            name: other.memory for name, other in zip(devices.others, self.others(devices), strict=True)
        }
        return all(weights_on(parts, name) <= memory.usable for name, memory in found.items())

    def place(
        self,
        parts: CheckpointParts,
        plan: Plan,
        beside: int,
        decoding: int | None,
        settings: Settings,
        devices: ComponentDevices,
        derived: int = 0,
    ) -> Placement:
        """Decide for a run.

        Args:
            parts: The checkpoint's networks.
            plan: What is generated.
            beside: Bytes of the networks that are leased with them.
            decoding: An estimate of the bytes of decoding a picture; None where the networks are not loaded.
            settings: The precisions of the run, and the steps that may be taken.
            devices: Where its networks are.
            derived: Bytes of what is made of the networks and kept beside them if all certainly fits.

        Raises:
            MemoryBudgetError: There is no way to fit it.
        """
        room = 0 if devices.elsewhere("vae") else decoding or 0
        placement = Placement(parts.checkpoint, plan, beside, parts, settings, devices, room=room)
        memory = self.memory()
        placement.usable = memory.usable
        for placement.derived in dict.fromkeys((derived, 0)):
            if decoding is not None and self._certainly_fits(placement, memory, decoding):
                return placement
        made = self._plan(placement, memory)
        if not made.fits:
            raise MemoryBudgetError(
                f"{plan.hires_size[0]} x {plan.hires_size[1]} needs at least {(made.peak + beside) / 1e9:.1f} GB; "
                f"there is {memory.usable / 1e9:.1f} GB.",
                field="width",
                context={"needed": made.peak + beside, "usable": memory.usable},
            )
        self._follow(placement, made)
        return placement

    def note_shortage(self, placement: Placement) -> None:
        """Let the next picture take less memory; called by the thread that generates."""
        _log.warning("The memory is running short on %s: the next picture takes less.", self._device)
        placement.is_short = True
        self.shortages += 1

    def step_down(self, placement: Placement) -> bool:
        """Take less memory after a shortage; returns whether there is a way."""
        if not placement.is_short:  # it is not counted yet
            self.shortages += 1
        peak, placement.is_short, placement.derived = placement.peak, False, 0
        self._pool.evict()
        found = self.memory()
        for share in SMALLER:
            usable = int(share * min(peak, found.usable))
            made = self._plan(placement, DeviceMemory(found.kind, found.total, usable, found.host))
            if made.fits:
                break
        else:
            return False
        placement.usable = usable
        self._follow(placement, made)
        taken = ", ".join(made.steps)
        placement.notes = (_SHORTAGE_NOTE, *placement.notes)
        _log.warning("The memory ran short on %s: going on with %s.", self._device, taken)
        return True

    def _certainly_fits(self, placement: Placement, memory: DeviceMemory, decoding: int) -> bool:
        """Whether each device has its networks at once, and several times what decoding takes where that is."""
        more = int(CERTAIN * decoding) + SPARE
        if placement.peak - placement.room + (more if placement.room else SPARE) > memory.usable:
            return False
        names = placement.devices.others
        return all(
            weights_on(placement.parts, name) + more <= other.memory.usable
            for name, other in zip(names, self.others(placement.devices), strict=True)
        )

    def _plan(self, placement: Placement, memory: DeviceMemory) -> MemoryPlan:
        usable = max(0, memory.usable - placement.beside)
        device = DeviceMemory(memory.kind, memory.total, usable, memory.host)
        checkpoint = planned_checkpoint(placement.checkpoint, self._building)
        others = self.others(placement.devices)
        return plan_memory(checkpoint, placement.plan, device, placement.settings, others)

    def _follow(self, placement: Placement, made: MemoryPlan) -> None:
        """Keep the networks as a plan says."""
        forms = {}
        for stage in made.stages:
            int8 = "int8" in stage.steps
            offload: Any = "" if stage.placement == "device" else stage.placement
            if int8 or offload:
                forms[stage.component] = NetworkForm(int8, offload, stage.weights)
        settings = placement.settings
        if "bf16" in made.steps:
            settings = settings.model_copy(update={"generation_precision": "bf16"})
        placement.parts = self._describe(placement.checkpoint, settings, forms)
        placement.memory = made
        placement.room = max(0, made.peak - weights_on(placement.parts))
        placement.notes = tuple(note for step, note in _NOTES.items() if step in made.steps)


def weights_on(parts: CheckpointParts, device: str = "") -> int:
    """Bytes of a checkpoint's networks on a device, by default the denoiser's."""
    sources = parts.sources.values()
    return sum({each.key: each.nbytes for each in sources if each.key.device == device}.values())


def stand_ins(placement: Placement, phases: Phases, device: torch.device) -> list[Component]:
    """Components that are in memory only while they are used, in the order of the checkpoint's sources.

    Args:
        placement: Where they are kept.
        phases: Leases them.
        device: Where they compute.
    """
    assert placement.memory is not None
    empty = empty_networks(placement.checkpoint)
    found = []
    for name, source in placement.parts.sources.items():
        network = empty[name]
        if getattr(network.config, "force_upcast", False):  # as when it is loaded
            network.register_to_config(force_upcast=False)
        steps = placement.memory.steps_of(name)
        stand_in = LeasedNetwork(
            network,
            device,
            DTYPES[source.key.dtype],
            partial(_use, phases, source),
            context=SlicedAttention if "sliced-attention" in steps else nullcontext,
            replaced=_tiled_methods(network) if "tiling" in steps else {},
            known_as=type(network) if decodes_with_mask(network) else None,
        )
        found.append(Component(source.key, stand_in, source.nbytes, parameter_names(network)))
    return found


def _use(phases: Phases, source: ComponentSource) -> nn.Module:
    network: nn.Module = phases.use(source).network
    return network


def _tiled_methods(vae: nn.Module) -> dict[str, Callable[[nn.Module], Callable[..., Any]]]:
    """What takes the place of an autoencoder's methods so that they work in tiles."""
    pixels = pixels_per_latent(vae)
    return {name: partial(tiled_call, method=name, pixels=pixels) for name in ("encode", "decode")}
