"""How long preprocessors take for a square picture: the median of several runs after a first one.

python bench/preprocessors.py [--size 1024] [--runs 5] [--sheet FILE]

Those whose weights are not installed are left out; --sheet also writes a picture with all results.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw

from safelight.generation.control.preprocessors import PREPROCESSORS, PreprocessContext
from safelight.images import decode
from safelight.runtime.machine import usable_cores
from safelight.runtime.pool import ModelPool
from safelight.samples import sample_photographs
from safelight.settings import Settings

TILE, COLUMNS, TITLE = 160, 6, 14
"""Side of a picture in the sheet, pictures in a row, and the height of a title, in pixels."""
SHEET_PARAMETERS = {"tile": {"downsampling": 8}}
"""What is chosen for the sheet, where defaults change nothing."""


def square_photograph(size: int) -> Image.Image:
    """The sample photograph of an astronaut, as large as asked for."""
    return decode(sample_photographs()[0]).image.resize((size, size), Image.Resampling.LANCZOS)


def milliseconds(name: str, picture: Image.Image, runs: int, context: PreprocessContext) -> float:
    """The median time of a preprocessor."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        PREPROCESSORS[name].run(picture, context=context)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:])


def sheet(names: list[str], picture: Image.Image, context: PreprocessContext) -> Image.Image:
    """The picture and all results with their names."""
    results = {"the picture": picture} | {
        name: PREPROCESSORS[name].run(picture, SHEET_PARAMETERS.get(name, {}), context=context)
        for name in names
    }
    rows = -(-len(results) // COLUMNS)
    found = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + TITLE)), "white")
    for number, (name, result) in enumerate(results.items()):
        x, y = number % COLUMNS * TILE, number // COLUMNS * (TILE + TITLE)
        ImageDraw.Draw(found).text((x + 2, y + 1), name, fill="black")
        found.paste(result.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y + TITLE))
    return found


def main() -> None:
    """Print a line for each preprocessor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="width and height in pixels")
    parser.add_argument("--runs", type=int, default=5, help="runs that count")
    parser.add_argument("--sheet", type=Path, help="where to write a picture with all results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        context = PreprocessContext(Settings(home=Path(home)), ModelPool(8 * 10**9))
        names = [name for name, each in PREPROCESSORS.items() if each.available(context.settings)]
        picture = square_photograph(arguments.size)
        sys.stdout.write(f"{arguments.size} x {arguments.size} pixels, {usable_cores()} cores\n")
        for name in names:
            sys.stdout.write(f"{name:18} {milliseconds(name, picture, arguments.runs, context):8.1f} ms\n")
            sys.stdout.flush()
        if arguments.sheet:
            sheet(names, square_photograph(512), context).save(arguments.sheet)


if __name__ == "__main__":
    main()
