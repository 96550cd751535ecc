"""Measure time and memory of creating a thumbnail, by the picture's size and format. Prints JSON.

Each thumbnail is created in a new process; its memory is the peak less the process's memory before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from safelight.gallery.thumbnails import MAX_SIDE, ThumbnailCache
from safelight.images.encoding import encode_image

PICTURES = tuple((side, kind) for side in (512, 1024, 4096) for kind in ("png", "jpeg"))
SIDES = (256, 512, MAX_SIDE)


def main() -> None:
    """Create all thumbnails of all pictures or, in a child process, one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2, metavar=("FILE", "SIDE"), help="make this one in this process")
    one = parser.parse_args().one
    if one:
        print(json.dumps(measure(Path(one[0]), int(one[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for size, kind in PICTURES:
            path = Path(folder) / f"{size}.{kind}"
            path.write_bytes(encode_image(pattern(size), kind))
            for side in SIDES:
                command = [sys.executable, __file__, "--one", str(path), str(side)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                print(json.dumps({"picture": f"{size} x {size} {kind}", "side": side, **found}))


def pattern(side: int) -> Image.Image:
    """A pattern of soft patches of colour, which compresses about as well as a photograph."""
    patches = np.random.default_rng(0).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
    return Image.fromarray(patches).resize((side, side))


def measure(path: Path, side: int) -> dict[str, float]:
    """Create one thumbnail: milliseconds, kilobytes, and peak megabytes of memory."""
    data = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        thumbnails = ThumbnailCache(Path(folder))
        thumbnails.get("warm", 16, lambda: encode_image(pattern(64), "png"))
        before = process_memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        start = time.perf_counter()
        made = thumbnails.get("one", side, lambda: data)
        seconds = time.perf_counter() - start
    return {
        "milliseconds": round(1000 * seconds),
        "kilobytes": round(len(made) / 1000),
        "megabytes": round(process_memory("VmHWM") - before),
    }


def process_memory(name: str) -> float:
    """A memory value of this process in MB, from Linux's /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1000


if __name__ == "__main__":
    main()
