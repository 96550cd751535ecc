"""Render the table of docs/memory.md: what ``safelight plan`` says of every published family on usual machines.

python scripts/render_memory.py > table.md
"""

from __future__ import annotations

import sys

from PIL import Image

from safelight.generation.memory_planning import plan_memory, published_checkpoint
from safelight.generation.plan import make_plan
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.empty_networks import published_families, published_title
from safelight.models.families import TEXT
from safelight.runtime.memory_plan.device import DeviceMemory, assumed_device
from safelight.settings import Settings

CARDS, RAM, HOST = (4, 6, 8, 12, 16, 24), (8, 16, 32), 32
SIDES = {"sd1": 512, "sd2": 768}
LETTERS = {"phases": "p", "blocks": "b", "tiling": "t", "bf16": "h", "int8": "8", "disk": "d"}


def describe(family: str, device: DeviceMemory) -> str:
    """The steps on a device as letters, or that it does not fit."""
    checkpoint, side = published_checkpoint(family), SIDES.get(family, 1024)
    white = {} if TEXT in checkpoint.family.modes else {"init_image": Image.new("RGB", (side, side), "white")}
    request = GenerationRequest(prompt="", width=side, height=side, **white)
    plan = make_plan(request, checkpoint.family, checkpoint.scheduler, native_side=side)
    made = plan_memory(checkpoint, plan, device, Settings())
    if not made.fits:
        return "no"
    return "".join(LETTERS[step] for step in made.steps if step in LETTERS) or "all"


def main() -> None:
    """Print the table."""
    cards = [assumed_device("cuda", size * 10**9, HOST * 10**9) for size in CARDS]
    hosts = [assumed_device("cpu", size * 10**9) for size in RAM]
    sys.stdout.write(
        "| | " + " | ".join([*(f"{n} GB card" for n in CARDS), *(f"{n} GB RAM" for n in RAM)]) + " |\n"
    )
    sys.stdout.write("|---" * (1 + len(cards) + len(hosts)) + "|\n")
    for family in published_families():
        cells = [describe(family, device) for device in (*cards, *hosts)]
        sys.stdout.write(f"| {published_title(family)} | {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
