"""Measure how long 1,000 files in a model folder take: to adopt them, to list the checkpoints, to find one.

The files are as long as real ones (2.1 GB and 150 MB) without taking room on the disk, and their headers have the usual
size: 400 Stable Diffusion 1 checkpoints of 1,130 tensors and 600 LoRAs of 792. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from safelight.models.checkpoints.discovery import find_checkpoints, find_path
from safelight.models.inventory.folders import inspect_folder

UNET, VAE, CLIP = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


def header(shapes: dict[str, list[int]], size: int) -> tuple[bytes, int]:
    """A header of half-precision tensors, the last of which fills the file up to ``size`` bytes, and that size."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        count = 1
        for side in shape:
            count *= side
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + 2 * count]}
        end += 2 * count
    rest = max(0, (size - end) // 2)
    entries["rest"] = {"dtype": "F16", "shape": [rest], "data_offsets": [end, end + 2 * rest]}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text, end + 2 * rest


def write(path: Path, shapes: dict[str, list[int]], size: int) -> None:
    """Write a sparse file with these tensors."""
    head, data = header(shapes, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + data)


def checkpoint_shapes() -> dict[str, list[int]]:
    """1,130 tensors with the names by which Stable Diffusion 1 is recognized."""
    shapes = {f"{UNET}input_blocks.0.0.weight": [320, 4, 3, 3], f"{UNET}out.2.weight": [4, 320, 3, 3]}
    shapes |= {
        f"{UNET}output_blocks.{i}.1.transformer_blocks.0.attn2.to_k.weight": [320, 768] for i in range(680)
    }
    shapes |= {f"{VAE}decoder.up.{i}.block.0.conv1.weight": [8, 8, 3, 3] for i in range(248)}
    return shapes | {f"{CLIP}text_model.encoder.layers.{i}.mlp.fc1.weight": [16, 16] for i in range(200)}


def lora_shapes() -> dict[str, list[int]]:
    """792 tensors in kohya's layout."""
    name = "lora_unet_down_blocks_1_attentions_{}_transformer_blocks_0_attn2_to_k.{}.weight"
    down = {name.format(i, "lora_down"): [16, 768] for i in range(396)}
    return down | {name.format(i, "lora_up"): [320, 16] for i in range(396)}


def seconds(task: Callable[[], object]) -> float:
    """How long a task takes."""
    return round(measure(task), 3)


def measure(task: Callable[[], object]) -> float:
    """Seconds that a task takes."""
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def milliseconds(task: Callable[[], object], times: int = 50) -> float:
    """How long a task takes on average, after a first time that is not counted."""
    task()
    return round(1000 * sum(measure(task) for _ in range(times)) / times, 3)


def settle(root: Path) -> None:
    """Make all folders look as if they had changed long ago, as they have where nobody adds models right now."""
    for place, _, _ in os.walk(root):
        os.utime(place, (1_700_000_000, 1_700_000_000))


def change(root: Path) -> None:
    """Change a folder, and let it look old, so that it is read once."""
    os.utime(root / "Lora", ns=(0, time.time_ns() - 10_000_000_000))


def stats_of_a_walk(root: Path) -> int:
    """How many folders are asked for their time in a walk: what a network drive answers one by one."""
    return sum(1 for _ in os.walk(root))


def main() -> None:
    """Write the files and print the times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    files: int = parser.parse_args().files
    with tempfile.TemporaryDirectory() as temporary:
        root, home = Path(temporary) / "models", Path(temporary) / "home"
        for number in range(files):
            if number % 5 < 2:
                write(
                    root / "Stable-diffusion" / f"{number % 7}" / f"{number}.safetensors",
                    checkpoint_shapes(),
                    2_100_000_000,
                )
            else:
                write(root / "Lora" / f"{number % 7}" / f"{number}.safetensors", lora_shapes(), 150_000_000)
        settle(root)

        def find(name: str) -> object:
            return find_path(name, home, [root])

        print(
            json.dumps(
                {
                    "files": files,
                    "adopt_seconds": seconds(lambda: list(inspect_folder(root))),
                    "list_first_seconds": seconds(lambda: find_checkpoints(home, folders=[root])),
                    "list_again_seconds": seconds(lambda: find_checkpoints(home, folders=[root])),
                    "one_by_name_milliseconds": milliseconds(lambda: find("0/0")),
                    "no_such_name_milliseconds": milliseconds(lambda: find("none")),
                    "after_a_change_milliseconds": milliseconds(lambda: (change(root), find("none"))),
                    "stats_of_a_walk": stats_of_a_walk(root),
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
