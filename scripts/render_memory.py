"""Render the tables of docs/memory.md: what ``safelight plan`` says of every published family on usual machines.

python scripts/render_memory.py > tables.md
"""

from __future__ import annotations

import sys

from PIL import Image

from safelight.generation.memory_planning import PlannedCheckpoint, plan_memory, published_checkpoint
from safelight.generation.plan import Plan, make_plan
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.empty_networks import published_families, published_title
from safelight.models.families import TEXT
from safelight.runtime.devices.memory import DeviceMemory, assumed_device
from safelight.runtime.memory_plan.planner import MemoryPlan
from safelight.settings import Settings

GB = 10**9
CARDS, RAM, HOST = (2, 4, 6, 8, 12, 16, 24), (8, 16, 32), 32
LETTERS = {"phases": "p", "blocks": "b", "tiling": "t", "bf16": "h", "int8": "8", "disk": "d"}
EVERYTHING = 10**6 * GB
CHANGES = {"tiling", "bf16", "int8"}
"""Steps that change the picture."""


def usual_picture(family: str) -> tuple[PlannedCheckpoint, Plan]:
    """The published checkpoint of a family, and a picture of its default size."""
    checkpoint = published_checkpoint(family)
    side = checkpoint.family.side
    white = {} if TEXT in checkpoint.family.modes else {"init_image": Image.new("RGB", (side, side), "white")}
    request = GenerationRequest(prompt="", width=side, height=side, **white)
    return checkpoint, make_plan(request, checkpoint.family, checkpoint.scheduler, native_side=side)


def describe(made: MemoryPlan) -> str:
    """The steps of a plan as letters, or that it does not fit."""
    if not made.fits:
        return "no"
    return "".join(LETTERS[step] for step in made.steps if step in LETTERS) or "all"


def smallest_card(checkpoint: PlannedCheckpoint, plan: Plan, steps: list[str]) -> float:
    """Gigabytes of the smallest card, in tenths, on which a picture fits with some steps beside 32 GB of RAM."""
    settings = Settings(memory_steps=steps)
    tenths = [*range(1, 1000)]
    low, high = 0, len(tenths) - 1
    while low < high:
        middle = (low + high) // 2
        device = assumed_device("cuda", tenths[middle] * GB // 10, HOST * GB)
        if plan_memory(checkpoint, plan, device, settings).fits:
            high = middle
        else:
            low = middle + 1
    smallest: float = tenths[low] / 10
    return smallest


def row(family: str, devices: list[DeviceMemory]) -> str:
    """A family's row."""
    checkpoint, plan = usual_picture(family)
    settings = Settings()
    whole = plan_memory(checkpoint, plan, assumed_device("cuda", EVERYTHING, EVERYTHING), settings)
    made = [plan_memory(checkpoint, plan, device, settings) for device in devices]
    same = smallest_card(checkpoint, plan, [step for step in LETTERS if step not in CHANGES])
    cells = [f"{plan.width}²", f"{whole.peak / GB:.1f}", f"{same:.1f}", *map(describe, made)]
    return f"| {published_title(family)} | {' | '.join(cells)} |\n"


def main() -> None:
    """Print the table."""
    devices = [
        *(assumed_device("cuda", size * GB, HOST * GB) for size in CARDS),
        *(assumed_device("cpu", size * GB) for size in RAM),
    ]
    heads = [
        "size",
        "at once",
        "same picture",
        *(f"{n} GB card" for n in CARDS),
        *(f"{n} GB RAM" for n in RAM),
    ]
    sys.stdout.write(f"| | {' | '.join(heads)} |\n" + "|---" * (1 + len(heads)) + "|\n")
    for family in published_families():
        sys.stdout.write(row(family, devices))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
