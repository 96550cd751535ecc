"""Plan the memory of a picture: for a checkpoint, or for a family as it was published, without loading anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from safelight.atomic_write import atomic_write
from safelight.errors import OutputError
from safelight.generation.memory_costs import count_picture
from safelight.generation.memory_steps import OtherDevice, choose_steps
from safelight.generation.plan import Plan, make_plan
from safelight.generation.precision import resolve_precisions
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.empty_networks import (
    empty_networks,
    published_identity,
    published_networks,
    published_options,
    published_scheduler,
)
from safelight.models.checkpoints.loading import scheduler_config
from safelight.models.digests import file_version
from safelight.models.families import FAMILIES, INPAINT, TEXT, Family
from safelight.models.families.precision import ComponentPrecisions
from safelight.runtime.devices import DEVICES, device_of
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.devices.placement import ComponentDevices
from safelight.runtime.machine import package_version
from safelight.runtime.memory_plan.planner import MemoryPlan, PictureCost
from safelight.settings import Settings

_LAYOUT = 2
"""The version of what is counted; costs of another one are counted again."""


@dataclass(frozen=True)
class PlannedCheckpoint:
    """What a plan needs to know of a checkpoint.

    Args:
        family: Its family.
        identity: Equal for checkpoints whose networks have equal sizes.
        networks: Returns its networks without weights.
        scheduler: The config of its scheduler.
        options: The pipeline's options.
    """

    family: Family
    identity: str
    networks: Callable[[], Mapping[str, nn.Module]]
    scheduler: Mapping[str, object]
    options: Mapping[str, object]


def planned_checkpoint(
    checkpoint: Checkpoint, building: Callable[[], AbstractContextManager[object]] = nullcontext
) -> PlannedCheckpoint:
    """What a plan needs to know of a checkpoint; no weights are read.

    Args:
        checkpoint: The checkpoint.
        building: A context in which networks are built: meanwhile no other thread may load one.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """

    def build() -> Mapping[str, nn.Module]:
        with building():
            return empty_networks(checkpoint)

    options: Mapping[str, object] = {}
    identity = [
        f"{part.component} {part.path.resolve()} {file_version(part.path)}" for part in checkpoint.parts
    ]
    if checkpoint.kind != "file":
        folder = read_folder(checkpoint.path)
        options = {name: value for name, value in folder.options.items() if isinstance(value, bool)}
        networks = [files for files in folder.components.values() if files.has_weights]
        identity += [f"{files.class_name} {json.dumps(files.config(), sort_keys=True)}" for files in networks]
    return PlannedCheckpoint(
        checkpoint.family,
        "\n".join([checkpoint.family.name, *identity]),
        build,
        scheduler_config(checkpoint),
        options,
    )


def published_checkpoint(family: str) -> PlannedCheckpoint:
    """What a plan needs to know of the model that a family was published with.

    Raises:
        CheckpointFamilyError: Its sizes are not known.
    """
    identity, found = published_identity(family), FAMILIES[family]
    scheduler: Mapping[str, object] = {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon"}
    if found.prediction_process == "flow":
        dynamic = found.passes_mu != "never"
        scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": dynamic}
    scheduler = published_scheduler(family) or scheduler
    return PlannedCheckpoint(
        found, identity, lambda: published_networks(family), scheduler, published_options(family)
    )


def usual_plan(
    checkpoint: PlannedCheckpoint,
    native_side: int,
    *,
    width: int | None = None,
    height: int | None = None,
    steps: int | None = None,
) -> Plan:
    """What is generated usually: a picture from text; from another picture, and a mask, for families that need them.

    Args:
        checkpoint: The checkpoint.
        native_side: Its default width and height in pixels.
        width: Pixels; its default when not given.
        height: Pixels; its default when not given.
        steps: Denoising steps; its default when not given.
    """
    modes = checkpoint.family.modes
    size = {name: value for name, value in (("width", width), ("height", height)) if value is not None}
    white = Image.new("RGB", (size.get("width", native_side), size.get("height", native_side)), "white")
    given = {} if TEXT in modes else {"init_image": white}
    if modes == (INPAINT,):
        given["mask"] = white
    request = GenerationRequest(prompt="", steps=steps, **size, **given)
    plan = make_plan(request, checkpoint.family, checkpoint.scheduler, native_side=native_side)
    looking = checkpoint.family.references
    needed = looking is not None and looking.required
    return replace(plan, reference_sizes=(white.size,) if needed else ())


def other_devices(devices: ComponentDevices, own: Callable[[str], int] = lambda _: 0) -> list[OtherDevice]:
    """The devices beside the denoiser's, and what may be used of them now.

    Args:
        devices: Where components are.
        own: Returns the bytes that networks of this process take on a device already, which may be evicted.
    """
    return [
        OtherDevice(device_of(device).usable_memory(0, own(name)), groups)
        for name, (device, groups) in devices.others.items()
    ]


def plan_memory(
    checkpoint: PlannedCheckpoint,
    plan: Plan,
    device: DeviceMemory,
    settings: Settings,
    others: Sequence[OtherDevice] = (),
) -> MemoryPlan:
    """Plan the memory of a picture.

    Args:
        checkpoint: The checkpoint.
        plan: What is generated.
        device: The denoiser's device; it need not be in this machine.
        settings: Those of the run (``settings_of_run``): the precisions, the steps that may be taken, and the cache
            folder, which keeps what was counted.
        others: The other devices.

    Raises:
        BackendError: There is no such kind of devices.
        PrecisionError: The checkpoint computes wrong pictures in the precision of the settings.
    """

    def cost(kind: str, precision: str) -> PictureCost:
        precisions = planned_precisions(settings, checkpoint.family, kind, precision)
        return picture_cost(checkpoint, plan, kind, precisions, settings.cache_folder)

    return choose_steps(cost, checkpoint.family, device, settings, others)


def planned_precisions(
    settings: Settings, family: Family, kind: str, precision: str = ""
) -> ComponentPrecisions:
    """The precision of each component on a device that need not be in this machine, and computes in bf16 and fp16.

    Args:
        settings: Those of the run.
        family: The family.
        kind: The kind of device.
        precision: One that takes the place of the setting generation_precision; empty for that setting.
    """
    if precision:
        settings = settings.model_copy(update={"generation_precision": precision})
    return resolve_precisions(settings, family, torch.device(kind), halves=("bf16", "fp16"))


def picture_cost(
    checkpoint: PlannedCheckpoint, plan: Plan, kind: str, precisions: ComponentPrecisions, cache: Path | None
) -> PictureCost:
    """What a picture takes, counted once and then read from the cache folder.

    Args:
        checkpoint: The checkpoint.
        plan: What is generated.
        kind: The kind of device.
        precisions: The precision of each network.
        cache: The cache folder, or None.
    """
    entry = None if cache is None else _cache_entry(cache, checkpoint, plan, kind, precisions)
    if entry is not None and (known := _read(entry)) is not None:
        return known
    counted = count_picture(
        checkpoint.networks(),
        plan,
        precisions,
        kind,
        checkpoint.scheduler,
        options=checkpoint.options,
        fused_attention=DEVICES[kind].fused_attention,
    )
    if entry is not None:
        with suppress(OutputError), atomic_write(entry) as temporary:  # else it is counted again
            temporary.write_text(json.dumps(asdict(counted)))
    return counted


def _cache_entry(
    cache: Path, checkpoint: PlannedCheckpoint, plan: Plan, kind: str, precisions: ComponentPrecisions
) -> Path:
    versions = [package_version(name) for name in ("torch", "diffusers", "transformers")]
    size = (plan.width, plan.height, plan.hires_size, plan.request.mode, plan.guided)
    calls = (plan.steps, plan.strength, plan.hires_steps, *plan.reference_sizes)
    key = repr((_LAYOUT, checkpoint.identity, size, calls, kind, precisions, versions))
    if plan.request.seamless != "none":
        key += plan.request.seamless
    return cache / "memory" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(entry: Path) -> PictureCost | None:
    try:
        return PictureCost.from_dict(json.loads(entry.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
