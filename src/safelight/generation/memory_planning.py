"""Plan the memory of a picture: for a checkpoint, or for a family as it was published, without loading anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from safelight.atomic_write import atomic_write
from safelight.errors import OutputError
from safelight.generation.memory_costs import count_picture
from safelight.generation.plan import Plan
from safelight.models.checkpoints.diffusers_layout import read_folder
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.empty_networks import (
    empty_networks,
    published_identity,
    published_networks,
    published_options,
)
from safelight.models.checkpoints.loading import scheduler_config, silence_libraries
from safelight.models.digests import file_version
from safelight.models.families import FAMILIES, Family
from safelight.runtime.machine import package_version
from safelight.runtime.memory_plan.device import DeviceMemory
from safelight.runtime.memory_plan.planner import (
    ComponentCost,
    MemoryPlan,
    PictureCost,
    StageCost,
    Step,
    make_memory_plan,
)

FUSED_ATTENTION = frozenset({"cpu", "cuda", "xpu"})
"""Kinds of devices for which torch has fused kernels of attention."""
_LAYOUT = 1
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


def planned_checkpoint(checkpoint: Checkpoint) -> PlannedCheckpoint:
    """What a plan needs to know of a checkpoint; no weights are read.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    options: Mapping[str, object] = {}
    if checkpoint.kind == "file":
        identity = [str(checkpoint.path.resolve()), *map(str, file_version(checkpoint.path))]
    else:
        folder = read_folder(checkpoint.path)
        options = {name: value for name, value in folder.options.items() if isinstance(value, bool)}
        networks = [files for files in folder.components.values() if files.has_weights]
        identity = [f"{files.class_name} {json.dumps(files.config(), sort_keys=True)}" for files in networks]
    return PlannedCheckpoint(
        checkpoint.family,
        "\n".join([checkpoint.family.name, *identity]),
        lambda: empty_networks(checkpoint),
        scheduler_config(checkpoint),
        options,
    )


def published_checkpoint(family: str) -> PlannedCheckpoint:
    """What a plan needs to know of the model that a family was published with.

    Raises:
        CheckpointFamilyError: Its sizes are not known.
    """
    identity, found = published_identity(family), FAMILIES[family]
    scheduler: dict[str, object] = {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon"}
    if found.prediction_process == "flow":
        dynamic = found.passes_mu != "never"
        scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": dynamic}
    return PlannedCheckpoint(
        found, identity, lambda: published_networks(family), scheduler, published_options(family)
    )


def plan_memory(
    checkpoint: PlannedCheckpoint,
    plan: Plan,
    device: DeviceMemory,
    precision: str,
    *,
    allowed: Iterable[Step],
    fixed_precision: bool,
    cache: Path | None,
) -> MemoryPlan:
    """Plan the memory of a picture.

    Args:
        checkpoint: The checkpoint.
        plan: What is generated.
        device: The device.
        precision: The precision of the weights.
        allowed: The steps that may be taken.
        fixed_precision: Whether the user chose the precision.
        cache: The cache folder, which keeps what was counted; None counts again each time.
    """

    def cost(used: str) -> PictureCost:
        return picture_cost(checkpoint, plan, device.kind, used, cache)

    return make_memory_plan(cost, device, precision, allowed, fixed_precision=fixed_precision)


def picture_cost(
    checkpoint: PlannedCheckpoint, plan: Plan, kind: str, precision: str, cache: Path | None
) -> PictureCost:
    """What a picture takes, counted once and then read from the cache folder.

    Args:
        checkpoint: The checkpoint.
        plan: What is generated.
        kind: The kind of device.
        precision: The precision of the weights.
        cache: The cache folder, or None.
    """
    entry = None if cache is None else _cache_entry(cache, checkpoint, plan, kind, precision)
    if entry is not None and (known := _read(entry)) is not None:
        return known
    silence_libraries()
    counted = count_picture(
        checkpoint.networks(),
        plan,
        precision,
        kind,
        checkpoint.scheduler,
        options=checkpoint.options,
        fused_attention=kind in FUSED_ATTENTION,
    )
    if entry is not None:
        with suppress(OutputError), atomic_write(entry) as temporary:  # else it is counted again
            temporary.write_text(json.dumps(asdict(counted)))
    return counted


def _cache_entry(cache: Path, checkpoint: PlannedCheckpoint, plan: Plan, kind: str, precision: str) -> Path:
    versions = [package_version(name) for name in ("torch", "diffusers", "transformers")]
    size = (plan.width, plan.height, plan.hires_size, plan.request.mode, plan.guided)
    calls = (plan.steps, plan.strength, plan.hires_steps)
    key = repr((_LAYOUT, checkpoint.identity, size, calls, kind, precision, versions))
    return cache / "memory" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(entry: Path) -> PictureCost | None:
    try:
        stored: dict[str, Any] = json.loads(entry.read_text())
        return PictureCost(
            stored["precision"],
            {name: ComponentCost(**values) for name, values in stored["components"].items()},
            tuple(StageCost(**values) for values in stored["stages"]),
            stored["slack"],
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
