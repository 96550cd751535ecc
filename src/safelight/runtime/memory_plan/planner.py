"""Choose how a picture is generated within the memory there is: what lies where, and what is done to make it fit.

A picture has stages: the text encoders, the initial picture's encoder, the denoiser, the decoder. Each stage needs the
weights of its networks and the memory of its activations. Where all networks together with the largest activations fit,
nothing is done. Otherwise steps are taken, first those that change nothing in the picture, the fastest first; then
those that change it, the smallest change first (``STEPS``); and only in the stages that need them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from safelight.runtime.devices.memory import DeviceMemory

Step = Literal["phases", "blocks", "sliced-attention", "tiling", "bf16", "int8", "disk"]

STEPS: Mapping[Step, str] = {
    "phases": "Networks are in memory one after the other, each while its stage runs. The same picture.",
    "blocks": "A network stays in the host's memory, and its blocks are copied to the accelerator one by one. "
    "The same picture.",
    "sliced-attention": "Attention is computed in slices, where the device has no fused kernel for it. The same "
    "picture within rounding.",
    "tiling": "The autoencoder works on overlapping tiles. Tones may differ a little between tiles.",
    "bf16": "bf16 in place of fp32 on CPUs, where generation_precision is auto. A small change of the picture.",
    "int8": "The weights of a network's linear and convolution layers have eight bits. A small change of the picture.",
    "disk": "The blocks of a network are read from the disk each time they compute, also for accelerators, which are "
    "then limited by the disk. The same picture, much slower.",
}
"""What may be done to make a picture fit, in the order in which it is tried."""


FILLED = 0.9
"""How much of what is usable is filled with blocks that need not be offloaded."""


@dataclass(frozen=True)
class ComponentCost:
    """What a network takes.

    Args:
        nbytes: Bytes of its weights and buffers.
        int8_nbytes: The same with the weights of its linear and convolution layers in eight bits; None if it is
            quantized already, or cannot be.
        outside_blocks: Bytes of its weights that belong to no block.
        largest_block: Bytes of its largest block; 0 if it has no blocks.
        largest_weight: Bytes of its largest weight, which is converted back for a layer that computes with int8.
        mapped: Whether it can be read from its file block by block: quantized weights are in memory.
    """

    nbytes: int
    int8_nbytes: int | None = None
    outside_blocks: int = 0
    largest_block: int = 0
    largest_weight: int = 0
    mapped: bool = True


@dataclass(frozen=True)
class StageCost:
    """What a stage takes.

    Args:
        name: Its name: text_encoder, text_encoder_2 … encode, denoise, decode.
        component: The network that it runs.
        activations: Bytes beside the weights, at most.
        sliced: The same with sliced attention.
        tiled: The same with tiling; None for stages that cannot be tiled.
        calls: How often the network is called for a picture.
    """

    name: str
    component: str
    activations: int
    sliced: int | None = None
    tiled: int | None = None
    calls: int = 1


@dataclass(frozen=True)
class PictureCost:
    """What a picture takes in one precision.

    Args:
        precision: The precision of the weights.
        components: The networks by name.
        stages: The stages in the order in which they run.
        slack: Bytes that the device's allocator takes beside what it is asked for.
    """

    precision: str
    components: Mapping[str, ComponentCost]
    stages: tuple[StageCost, ...]
    slack: int = 0

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The same from JSON of ``dataclasses.asdict``.

        Raises:
            KeyError, TypeError, AttributeError: It is not that of a picture's cost.
        """
        return cls(
            stored["precision"],
            {name: ComponentCost(**values) for name, values in stored["components"].items()},
            tuple(StageCost(**values) for values in stored["stages"]),
            stored["slack"],
        )

    def of(self, is_meant: Callable[[str], bool]) -> PictureCost:
        """What some of the networks take, and the stages that they run."""
        components = {name: cost for name, cost in self.components.items() if is_meant(name)}
        stages = tuple(stage for stage in self.stages if is_meant(stage.component))
        return replace(self, components=components, stages=stages)

    @property
    def weights(self) -> int:
        """Bytes of all networks."""
        return sum(component.nbytes for component in self.components.values())

    @property
    def activations(self) -> int:
        """Bytes of the activations of the stage with the most."""
        return max((stage.activations for stage in self.stages), default=0)


@dataclass(frozen=True)
class StagePlan:
    """A stage as it is planned.

    Args:
        name: Its name.
        component: The network that it runs.
        placement: Where the network's weights are: "device"; "blocks" (in the host's memory, block by block on the
            device); or "disk" (read block by block).
        weights: Bytes of weights on the device; of an offloaded network those of the blocks that stay, and of two more.
        activations: Bytes beside them.
        peak: Bytes of both, and of what the allocator takes beside them.
        steps: The steps that apply to it.
        copied: Bytes that are copied or read for a picture, over all calls.
        device: The kind of its device, where that is not the denoiser's.
    """

    name: str
    component: str
    placement: str
    weights: int
    activations: int
    peak: int
    steps: tuple[Step, ...] = ()
    copied: int = 0
    device: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The stage for JSON output."""
        return {
            "name": self.name,
            "component": self.component,
            "device": self.device,
            "placement": self.placement,
            "weight_bytes": self.weights,
            "activation_bytes": self.activations,
            "peak_bytes": self.peak,
            "copied_bytes": self.copied,
            "steps": list(self.steps),
        }


@dataclass(frozen=True)
class MemoryPlan:
    """How a picture is generated within the memory there is.

    Where networks are on several devices, its figures are those of the denoiser's, and it fits if it fits all of them.

    Args:
        precision: The precision of the weights.
        usable: Bytes that the device had for it.
        stages: The stages in the order in which they run.
        steps: The steps that are taken, in the order of ``STEPS``.
        phases: Whether the networks are in memory one after the other.
        fits: Whether it is enough.
        host: Bytes of the host's memory for networks whose blocks are offloaded, pinned where the device reads them.
    """

    precision: str
    usable: int
    stages: tuple[StagePlan, ...]
    steps: tuple[Step, ...]
    phases: bool
    fits: bool
    host: int = 0

    @property
    def peak(self) -> int:
        """Bytes that the stage with the most takes."""
        return max((stage.peak for stage in self.own_stages), default=0)

    @property
    def own_stages(self) -> tuple[StagePlan, ...]:
        """The stages on the denoiser's device."""
        return tuple(stage for stage in self.stages if not stage.device)

    def joined(self, other: MemoryPlan, device: str, order: Sequence[str]) -> MemoryPlan:
        """With the plan of networks on another device.

        Args:
            other: Their plan.
            device: The device's kind.
            order: The names of all stages in the order in which they run.
        """
        stages = (*self.stages, *(replace(stage, device=device) for stage in other.stages))
        return replace(
            self,
            stages=tuple(sorted(stages, key=lambda stage: order.index(stage.name))),
            steps=tuple(step for step in STEPS if step in {*self.steps, *other.steps}),
            phases=self.phases or other.phases,
            fits=self.fits and other.fits,
        )

    def steps_of(self, component: str) -> frozenset[Step]:
        """The steps that apply to a network in any stage."""
        return frozenset(
            step for stage in self.stages if stage.component == component for step in stage.steps
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan for JSON output."""
        return {
            "fits": self.fits,
            "peak_bytes": self.peak,
            "usable_bytes": self.usable,
            "host_bytes": self.host,
            "precision": self.precision,
            "steps_taken": list(self.steps),
            "stages": [stage.to_dict() for stage in self.stages],
        }


def make_memory_plan(
    cost: Callable[[str], PictureCost],
    device: DeviceMemory,
    allowed: Iterable[Step] = tuple(STEPS),
    *,
    free_precision: bool = False,
) -> MemoryPlan:
    """Choose the steps for a picture; where none is enough, the plan has all of them, and does not fit.

    Args:
        cost: Returns what the picture takes in a precision; "" is the one that was asked for.
        device: The device.
        allowed: The steps that may be taken.
        free_precision: Whether the user left the precision open, and bf16 is right for the denoiser.
    """
    given = set(allowed)
    if not free_precision or not device.is_cpu:
        given.discard("bf16")
    if device.is_cpu:
        given.discard("blocks")
    steps = [step for step in STEPS if step in given]
    for count in range(len(steps) + 1):
        available = frozenset(steps[:count])
        used = cost("bf16" if "bf16" in available else "")
        plan = _plan_picture(used, device, available)
        if plan.fits:
            break
    return plan


def _plan_picture(cost: PictureCost, device: DeviceMemory, available: frozenset[Step]) -> MemoryPlan:
    """The plan with as few of the available steps as possible, or else with all of them."""
    precision_steps: tuple[Step, ...] = ("bf16",) if "bf16" in available else ()
    if "phases" not in available or cost.weights + cost.activations + cost.slack <= device.usable:
        stages = tuple(_resident_stage(stage, cost) for stage in cost.stages)
        fits = all(stage.peak <= device.usable for stage in stages)
        return MemoryPlan(cost.precision, device.usable, stages, precision_steps, phases=False, fits=fits)
    chosen: dict[str, frozenset[Step]] = {}
    for stage in cost.stages:
        own = _choose_steps(stage, cost, device, available)
        chosen[stage.component] = _joined(chosen.get(stage.component, frozenset()), own)
    stages = tuple(_stage_plan(stage, cost, device, chosen[stage.component]) for stage in cost.stages)
    # The host's memory too has one of these networks after the other.
    offloaded = {stage.component for stage in stages if stage.placement == "blocks"}
    host = max((_host_nbytes(cost.components[name], chosen[name]) for name in offloaded), default=0)
    taken = {"phases", *precision_steps, *(step for stage in stages for step in stage.steps)}
    fits = all(stage.peak <= device.usable for stage in stages) and host <= device.host
    steps = tuple(step for step in STEPS if step in taken)
    return MemoryPlan(cost.precision, device.usable, stages, steps, phases=True, fits=fits, host=host)


def _resident_stage(stage: StageCost, cost: PictureCost) -> StagePlan:
    """A stage with all networks in memory."""
    weights, component = cost.weights, stage.component
    peak = weights + stage.activations + cost.slack
    return StagePlan(stage.name, component, "device", weights, stage.activations, peak)


def _choose_steps(
    stage: StageCost, cost: PictureCost, device: DeviceMemory, available: frozenset[Step]
) -> frozenset[Step]:
    """The fewest and least harmful steps with which a stage fits by itself; all that apply if it does not."""
    applicable = [step for step in STEPS if step in available and _applies(step, stage, cost)]
    steps: frozenset[Step] = frozenset()
    for number in range(2 ** len(applicable)):  # in binary, the most harmful step is the highest digit
        tried = frozenset(step for place, step in enumerate(applicable) if number >> place & 1)
        if tried != _joined(tried, frozenset()):
            continue
        steps = tried
        on_host = _host_nbytes(cost.components[stage.component], steps) if "blocks" in steps else 0
        if _stage_plan(stage, cost, device, steps).peak <= device.usable and on_host <= device.host:
            break
    return steps


def _joined(some: frozenset[Step], others: frozenset[Step]) -> frozenset[Step]:
    """Steps of two stages with the same network: what is read from the disk is neither in memory nor converted."""
    steps = some | others
    return steps - {"blocks", "int8"} if "disk" in steps else steps


def _applies(step: Step, stage: StageCost, cost: PictureCost) -> bool:
    component = cost.components[stage.component]
    applies = {
        "blocks": component.largest_block > 0,
        "disk": component.largest_block > 0 and component.mapped,
        "sliced-attention": stage.sliced is not None,
        "tiling": stage.tiled is not None,
        "int8": component.int8_nbytes is not None,
    }
    return applies.get(step, False)


def _stage_plan(
    stage: StageCost, cost: PictureCost, device: DeviceMemory, steps: frozenset[Step]
) -> StagePlan:
    """A stage with its network alone in memory; of an offloaded one as many blocks stay as there is room for."""
    component = cost.components[stage.component]
    activations = stage.activations
    if "sliced-attention" in steps and stage.sliced is not None:
        activations = stage.sliced
    if "tiling" in steps and stage.tiled is not None:
        activations = stage.tiled
    if "int8" in steps:
        activations += component.largest_weight
    weights = total = _nbytes(component, steps)
    placement, copied = "device", total
    if steps & {"blocks", "disk"}:
        share = total / component.nbytes
        placement = "blocks" if "blocks" in steps else "disk"
        weights = int((component.outside_blocks + 2 * component.largest_block) * share)
        room = int(FILLED * device.usable) - weights - activations - cost.slack
        offloaded = max(0, total - weights - max(0, room))
        copied = stage.calls * (offloaded + int(2 * component.largest_block * share))
        weights = total - offloaded
    own = tuple(step for step in STEPS if step in steps and _applies(step, stage, cost))
    peak = weights + activations + cost.slack
    return StagePlan(stage.name, stage.component, placement, weights, activations, peak, own, copied)


def _host_nbytes(component: ComponentCost, steps: frozenset[Step]) -> int:
    """Bytes of an offloaded network in the host's memory, and of the weight that is just converted or pinned."""
    return _nbytes(component, steps) + component.largest_weight


def _nbytes(component: ComponentCost, steps: frozenset[Step]) -> int:
    """Bytes of a network's weights."""
    quantized = component.int8_nbytes if "int8" in steps else None
    return component.nbytes if quantized is None else quantized
