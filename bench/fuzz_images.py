"""Feed the decoder damaged files of each format, and print the outcomes: `make fuzz-images`.

Each file must result in a picture or in one of our errors, within limits on time and memory. Each format runs in its
own process, so that a crash is counted too. The same seed gives the same files with the same version of Pillow.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import secrets
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.images.conftest import FORMATS, ImageBuilders
from tests.images.corruption import corrupted_files, more_sound_files, read_everything

SECONDS, MEGABYTES = 3.0, 64
"""Limits for one file; the decode limits are 1 megapixel and 4 frames."""


def main() -> None:
    """Run all formats, print their figures, and fail if a file failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="damaged files of each format")
    parser.add_argument("--seed", type=int, default=None, help="the number of an earlier run")
    parser.add_argument("--format", choices=FORMATS, default=None, help="this format alone")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    if options.one:
        print(json.dumps(decode_damaged(options.format, options.count, seed)))
        return
    print(f"{processor_name()}; seed {seed}", flush=True)
    failed = 0
    for name in [options.format] if options.format else FORMATS:
        failed += not report(name, *run(name, options.count, seed))
    sys.exit(1 if failed else 0)


def run(name: str, count: int, seed: int) -> tuple[int, str, str]:
    """Run the process for one format; returns its exit status and output."""
    command = [sys.executable, "-m", "bench.fuzz_images", "--one", "--format", name]
    command += ["--count", str(count), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def report(name: str, status: int, output: str, errors: str) -> bool:
    """Print a format's figures; returns whether all files passed."""
    if status:
        print(f"{name}: the process ended with {status}\n{errors[-2000:]}", flush=True)
        return False
    found = json.loads(output.splitlines()[-1])
    outcomes = ", ".join(f"{code} {number}" for code, number in sorted(found["outcomes"].items()))
    print(
        f"{name}: {found['files']} files of {found['seeds']} seeds in {found['seconds']:.1f} s; {outcomes}; "
        f"slowest {found['slowest'] * 1000:.0f} ms, most memory {found['most']:.1f} MB",
        flush=True,
    )
    for complaint in found["wrong"]:
        print(f"  {complaint}", flush=True)
    return not found["wrong"]


def decode_damaged(name: str, count: int, seed: int) -> dict[str, object]:
    """Decode a number of damaged files of a format."""
    originals = more_sound_files(ImageBuilders, name)
    for data in originals:
        assert read_everything(data) == "decoded", name  # this also loads what decoders load at first use
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = most = 0.0
    began = time.perf_counter()
    for number, data in enumerate(corrupted_files(originals, count, random.Random(f"{seed}{name}"))):  # noqa: S311
        seconds, megabytes, outcome = decode_measured(data)
        outcomes[outcome.splitlines()[0]] += 1
        slowest, most = max(slowest, seconds), max(most, megabytes)
        if "\n" in outcome or seconds > SECONDS or megabytes > MEGABYTES:
            wrong.append(f"file {number}: {seconds:.2f} s, {megabytes:.0f} MB, {outcome}")
    return {
        "files": count,
        "seeds": len(originals),
        "seconds": time.perf_counter() - began,
        "outcomes": outcomes,
        "slowest": slowest,
        "most": most,
        "wrong": wrong,
    }


def decode_measured(data: bytes) -> tuple[float, float, str]:
    """Seconds, peak megabytes, and the outcome: a traceback if it is not an error of ours."""
    reset_peak()
    before, began = process_memory("VmRSS"), time.perf_counter()
    try:
        outcome = read_everything(data)
    except Exception:  # noqa: BLE001 - unexpected exceptions are what this looks for
        outcome = f"not ours\n{traceback.format_exc()}"
    seconds = time.perf_counter() - began
    return seconds, (process_memory("VmHWM") - before) / 1000, outcome


def reset_peak() -> None:
    """Reset this process's peak memory (Linux)."""
    gc.collect(0)
    Path("/proc/self/clear_refs").write_text("5")


def process_memory(name: str) -> int:
    """A value of the process's status in kilobytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def processor_name() -> str:
    """The processor's model name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
