"""``safelight plan``: what a picture takes of the memory, and what is done to make it fit, without loading anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from safelight.cli.console import JsonOption, print_json, print_line, print_stderr, printable
from safelight.cli.generation import parse_size
from safelight.errors import UsageError

if TYPE_CHECKING:
    from safelight.generation.adapters.files import AdapterSize
    from safelight.generation.memory_planning import PlannedCheckpoint
    from safelight.generation.memory_steps import OtherDevice
    from safelight.runtime.devices.memory import DeviceMemory
    from safelight.runtime.memory_plan.planner import MemoryPlan, StagePlan
    from safelight.settings import Settings

DeviceOption = Annotated[
    str | None, typer.Option(metavar="KIND", help="Plan for another device: cpu, cuda, mps …")
]
DEFAULT_FACTOR = 2.0
MemoryOption = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="The memory of that device, as 8GB, with nothing else in it."),
]


def plan(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CHECKPOINT]", help="A checkpoint; the setting's when not given.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Width and height in pixels.")] = None,
    family: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Plan for a family as it was published, without a checkpoint."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=1000, help="Denoising steps.")] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Plan with a LoRA or another adapter. Can be repeated."),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Plan with a control: its kind or its model. Can be repeated."),
    ] = None,
    refiner: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Plan a refiner too, which takes turns with the checkpoint."),
    ] = None,
    hires: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", min=1, max=8, help="Plan a second pass too, so many times as large."),
    ] = None,
    hires_checkpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its checkpoint; the first pass's when not given.")
    ] = None,
    device: DeviceOption = None,
    memory: MemoryOption = None,
    host_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The host's memory beside an accelerator's, as 16GB.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="fp32, bf16 or fp16; as generation_precision.")
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL",
            help="exact, balanced or fast, which decide the precision; as generation_quality.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what a picture takes of the memory, and what is done to make it fit. Nothing is loaded.

    Each stage (text encoders, denoiser, decoder) is counted at its real size, in seconds. With
    --device and --memory the plan is for a machine that need not be this one.
    Exit status 1: it does not fit.
    """
    from safelight.settings import Settings

    if checkpoint is not None and family is not None:
        raise UsageError("A checkpoint and --family cannot be given together.")
    settings = Settings.load(generation_precision=precision, generation_quality=quality)
    place, others = _find_devices(settings, device, memory, host_memory)
    found, side = _find_checkpoint(settings, checkpoint, family)
    adapters = None
    if lora:
        from safelight.generation.adapters.files import count_adapters

        adapters = count_adapters(lora, found.networks(), found.family, settings)
        place = replace(place, usable=max(0, place.usable - adapters.nbytes))
    weights = _count_controls(control or [], found, settings)
    made = _make_plan(settings, found, side, parse_size(size), steps, place, others, weights)
    later = {}
    if refiner is not None:
        known, _ = _find_checkpoint(settings, refiner, None)
        later["refiner"] = _make_plan(settings, known, side, parse_size(size), steps, place, others, 0)
    if hires is not None or hires_checkpoint is not None:
        known = found if hires_checkpoint is None else _find_checkpoint(settings, hires_checkpoint, None)[0]
        enlarged = _enlarged(parse_size(size), side, hires or DEFAULT_FACTOR, known.family.size_multiple)
        later["second pass"] = _make_plan(settings, known, side, enlarged, steps, place, others, weights)
    sizes = None if adapters is None else _adapter_bytes(adapters, made)
    if json:
        controls = {"controls": {"bytes": weights * _itemsize(made.precision)}} if control else {}
        following = {"following": {name: each.to_dict() for name, each in later.items()}} if later else {}
        print_json(made.to_dict() | ({} if sizes is None else {"adapters": sizes}) | controls | following)
    else:
        print_plan(made)
        if sizes is not None:
            own, changed = (size / 1e9 for size in sizes.values())
            print_line(
                f"adapters: {own:.3f} GB beside that; {changed:.3f} GB of changed weights, if there is room"
            )
        if control:
            print_line(f"controls: {weights * _itemsize(made.precision) / 1e9:.3f} GB beside that")
        for name, each in later.items():
            print_line(f"\n{typer.style(name, bold=True)}, when the one before it has made room:")
            print_plan(each)
    if not all(each.fits for each in (made, *later.values())):
        raise typer.Exit(1)


def _enlarged(size: dict[str, int], side: int, factor: float, unit: int) -> dict[str, int]:
    """Width and height of a second pass in pixels."""
    sides = {"width": side, "height": side} | size
    return {name: int(value * factor / unit + 0.5) * unit for name, value in sides.items()}


def _adapter_bytes(adapters: AdapterSize, made: MemoryPlan) -> dict[str, int]:
    """The bytes of adapters, and those of the weights that they change."""
    return {"bytes": adapters.nbytes, "changed_bytes": adapters.changed * _itemsize(made.precision)}


def _itemsize(precision: str) -> int:
    return 4 if precision == "fp32" else 2


def _count_controls(names: list[str], found: PlannedCheckpoint, settings: Settings) -> int:
    """How many weights the networks of controls have."""
    from safelight.generation.control.planning import count_weights
    from safelight.models.controls.packaged import control_folders

    folders = control_folders(settings.home, settings.current_model_folders)
    return count_weights(names, found.family, folders, found.networks)


def print_plan(made: MemoryPlan) -> None:
    """Print a plan stage by stage."""
    from safelight.runtime.memory_plan.planner import STEPS

    for stage in made.stages:
        print_line(describe_stage(stage))
    verdict = "fits" if made.fits else "does not fit"
    print_line(
        f"{typer.style(verdict, bold=True)}: at most {made.peak / 1e9:.2f} GB of {made.usable / 1e9:.2f} GB, "
        f"in {made.precision}"
    )
    if made.host:
        print_line(f"beside {made.host / 1e9:.2f} GB of the host's memory")
    for step in made.steps:
        print_line(f"{step}: {STEPS[step]}")
    if not made.steps:
        print_line("all networks stay in memory; nothing has to be done")


def describe_stage(stage: StagePlan) -> str:
    """A line about a stage: its peak, what takes it, and where its network lies."""
    where = {
        "device": f"on {stage.device or 'the device'}",
        "blocks": "block by block from the host's memory",
        "disk": "block by block from the disk",
    }[stage.placement]
    copied = f", {stage.copied / 1e9:.1f} GB copied a picture" if stage.placement != "device" else ""
    steps = f" ({', '.join(stage.steps)})" if stage.steps else ""
    return (
        f"{printable(stage.name):<16} {stage.peak / 1e9:6.2f} GB: weights {stage.weights / 1e9:.2f}, "
        f"activations {stage.activations / 1e9:.2f}; {stage.component} {where}{copied}{steps}"
    )


def _find_devices(
    settings: Settings, kind: str | None, memory: str | None, host: str | None
) -> tuple[DeviceMemory, list[OtherDevice]]:
    """The device that the options name, for all networks; or those of the settings with what is free now."""
    from safelight.generation.memory_planning import other_devices
    from safelight.runtime.devices import resolve_devices, settle_device
    from safelight.runtime.devices.memory import assumed_device, parse_bytes

    if memory is None:
        if kind is not None or host is not None:
            raise UsageError("--device and --host-memory need --memory.")
        found, _ = settle_device(settings, settings.device)
        others = other_devices(resolve_devices(settings, found.torch_device))
        return found.usable_memory(settings.memory_budget), others
    host_bytes = None if host is None else parse_bytes(host)
    own = kind or settle_device(settings, settings.device)[0].torch_device.type
    return assumed_device(own, parse_bytes(memory), host_bytes), []


def _make_plan(
    settings: Settings,
    found: PlannedCheckpoint,
    side: int,
    size: dict[str, int],
    steps: int | None,
    device: DeviceMemory,
    others: list[OtherDevice],
    control_weights: int,
) -> MemoryPlan:
    from safelight.generation.memory_planning import plan_memory, planned_precisions, usual_plan
    from safelight.generation.precision import settings_of_run
    from safelight.runtime.compilation.speed import known_speeds

    usual = usual_plan(found, side, **size, steps=steps)
    speeds = known_speeds(settings.cache_folder)
    of_run = settings_of_run(settings, None, found.family, device.kind, speeds)
    precision = planned_precisions(of_run, found.family, device.kind).denoiser
    beside = control_weights * _itemsize(precision)
    device = replace(device, usable=max(0, device.usable - beside))
    return plan_memory(found, usual, device, of_run, others)


def _find_checkpoint(
    settings: Settings, checkpoint: str | None, family: str | None
) -> tuple[PlannedCheckpoint, int]:
    """What a plan needs to know of the checkpoint, and its default width and height in pixels."""
    from safelight.generation.memory_planning import planned_checkpoint, published_checkpoint
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.checkpoints.empty_networks import published_title
    from safelight.models.hub.checkpoint_download import hub_lookup

    if family is not None:
        published = published_checkpoint(family)
        print_stderr(f"Planning for {published_title(family)} …")
        return published, published.family.side
    name = checkpoint or settings.checkpoint
    known = find_checkpoint(
        name, settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )
    return planned_checkpoint(known), known.default_side()
