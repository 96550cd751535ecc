"""The first picture of a fresh process beside plain diffusers: `python bench/first_picture.py starter sd1 sd1-fp32`.

Each round starts both in turn, from the start of Python to the PNG on disk: ``safelight generate``, and a script with
``DiffusionPipeline.from_pretrained`` in fp32. ``sd1`` has Stable Diffusion 1.5's size and random weights, stored in
fp16 as its published files are; ``sd1-fp32`` stores them in fp32. The files are in the page cache, since they are read
before.
``--unknown`` forgets the digests of the weights before each round, as on the first use of a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STARTER = Path(__file__).parents[1] / "src" / "safelight" / "models" / "starter"
PLAIN = """
import sys
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
pipeline.set_progress_bar_config(disable=True)
pipeline(
    "a red apple", num_inference_steps=int(sys.argv[3]), guidance_scale=4.0, width=int(sys.argv[4]),
    height=int(sys.argv[4]), generator=torch.Generator().manual_seed(1),
).images[0].save(sys.argv[2])
"""


def write_checkpoint(folder: Path, *, half: bool) -> Path:
    """Write a checkpoint of Stable Diffusion 1.5's size, in a process of its own, and read it once."""
    call = f"write_random(pathlib.Path({str(folder)!r}), half={half})"
    code = f"import pathlib; from random_checkpoint import write_random; {call}"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    return folder


def run(command: list[str], home: Path) -> tuple[float, float]:
    """Run a command; returns its seconds, and its seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = os.environ | {"SAFELIGHT_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 1):  # 1: done, and the policy flagged the picture
        raise RuntimeError(done.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name: str, folder: Path, home: Path, options: argparse.Namespace) -> None:
    """Measure both in turn, and print medians and their ratio."""
    steps, side = (options.steps, 128) if name == "starter" else (options.steps, options.side)
    ours = [sys.executable, "-m", "safelight", "generate", "a red apple", "--checkpoint", str(folder)]
    ours += ["--seed", "1", "--steps", str(steps), "--guidance", "4", "--size", f"{side}x{side}"]
    ours += ["--out", str(home / "ours.png")]
    plain = [sys.executable, "-c", PLAIN, str(folder), str(home / "plain.png"), str(steps), str(side)]
    for file in folder.rglob("*.safetensors"):
        file.read_bytes()
    found: dict[str, list[tuple[float, float]]] = {"safelight": [], "diffusers": []}
    for number in range(options.rounds + 1):
        pair = [("safelight", ours), ("diffusers", plain)]
        for side_name, command in pair if number % 2 else reversed(pair):
            if options.unknown and side_name == "safelight":
                shutil.rmtree(home / "cache" / "digests", ignore_errors=True)
            (home / "ours.png").unlink(missing_ok=True)
            measured = run(command, home)
            if number:  # the first round probes the classifier, and caches digests
                found[side_name].append(measured)
    for side_name, values in found.items():
        seconds, processor = ([each[kind] for each in values] for kind in (0, 1))
        print(
            f"{name:9} {side_name:10} {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"{statistics.median(processor):6.2f} s of processor time"
        )
    for kind, text in ((0, "seconds"), (1, "processor time")):
        ratios = [a[kind] / b[kind] for a, b in zip(found["safelight"], found["diffusers"], strict=True)]
        print(
            f"{name:9} ratio of {text}: {statistics.median(ratios):.2f} (median of {len(ratios)} pairs)",
            flush=True,
        )


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["starter", "sd1"], help="starter, sd1, sd1-fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--side", type=int, default=256, help="of sd1's pictures")
    parser.add_argument("--unknown", action="store_true", help="hash the weights in each round")
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written, and found again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        kept = options.folder or Path(temporary)
        for name in options.what:
            folder = STARTER if name == "starter" else kept / name
            if not folder.exists():
                write_checkpoint(folder, half=name == "sd1")
            measure(name, folder, Path(temporary), options)


if __name__ == "__main__":
    main()
