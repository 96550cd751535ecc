"""How often each half of a picture shows what it was asked for: a plain prompt against regions, with the starter.

    python bench/regions.py --pairs 8 --seeds 3 --sheet regions.png

A picture of 256 x 128 is to show one thing on the left and another on the right. The starter's judge names each half by
the real picture that is nearest to it. Rows of the sheet: plain, AND, prediction, attention; columns: pairs of things.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safelight.settings import Settings
from safelight.studio import Studio
from safelight.studio.starter_judge import StarterJudge, nearest

SIDE = 128
STYLE = "3d style"


def mask(left: bool) -> Image.Image:
    """White in one half."""
    image = Image.new("L", (2 * SIDE, SIDE))
    image.paste(255, (0, 0, SIDE, SIDE) if left else (SIDE, 0, 2 * SIDE, SIDE))
    return image


def requests(left: str, right: str) -> dict[str, dict[str, Any]]:
    """The fields of each way to ask for both."""
    regions = [{"prompt": f"{name}, {STYLE}", "mask": mask(name == left)} for name in (left, right)]
    both = f"{left} and {right}, {STYLE}"
    return {
        "plain": {"prompt": f"{left} on the left and {right} on the right, {STYLE}"},
        "AND": {"prompt": f"{left}, {STYLE} AND {right}, {STYLE}"},
        "prediction": {"prompt": both, "regions": regions},
        "attention": {"prompt": both, "regions": regions, "region_method": "attention"},
    }


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    judge = StarterJudge()
    order = np.random.default_rng(0).permutation(len(judge.names))[: 2 * given.pairs].reshape(-1, 2)
    studio = Studio(Settings.load(checkpoint="starter"))
    right: dict[str, int] = {}
    seconds: dict[str, float] = {}
    rows: dict[str, list[np.ndarray]] = {}
    for left_number, right_number in order:
        for way, fields in requests(judge.names[left_number], judge.names[right_number]).items():
            begun = time.perf_counter()
            size = {"width": 2 * SIDE, "height": SIDE, "seed": 1, "count": given.seeds}
            drawn = [np.asarray(each.image) for each in studio.generate(**fields, **size)]
            seconds[way] = seconds.get(way, 0) + time.perf_counter() - begun
            halves = np.stack([half for picture in drawn for half in (picture[:, :SIDE], picture[:, SIDE:])])
            things, _ = nearest(judge.distances(halves))
            wanted = np.array([left_number, right_number] * len(drawn))
            right[way] = right.get(way, 0) + int((things == wanted).sum())
            rows.setdefault(way, []).append(drawn[0])
    halves_count = 2 * given.seeds * len(order)
    for way, count in right.items():
        share, each = count / halves_count, seconds[way] / (halves_count / 2)
        print(f"{way:<12} {count:>3} of {halves_count} halves ({share:.0%}), {each:.2f} s a picture")
    if given.sheet is not None:
        sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows.values()])
        Image.fromarray(sheet).save(given.sheet)


if __name__ == "__main__":
    main()
