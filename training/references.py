"""Make small real pictures of some things for the starter's judge: studio/starter_references.*.

The things are a random sample of those that exist in all four styles. The pictures match captions without a background:
alone, in the middle, on white. Columns are things, rows are styles.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from captions import STYLE_WORDS, with_article
from pictures import STYLES
from scenes import Pictures, PlacedThing, Scene, render_scene

SIDE = 24
THINGS = 32
TARGET = Path(__file__).parents[1] / "src" / "safelight" / "studio"


def rows_of_all_styles(pictures: Pictures) -> dict[int, dict[str, int]]:
    """The rows by style of each thing that exists in every style."""
    rows: dict[int, dict[str, int]] = {}
    for number, row in enumerate(pictures.rows):
        rows.setdefault(row.thing, {})[row.style] = number
    return {thing: by_style for thing, by_style in rows.items() if len(by_style) == len(STYLES)}


def small(pictures: Pictures, row: int) -> np.ndarray:
    """One picture on a white background, uint8 [SIDE, SIDE, 3]."""
    plain = render_scene(pictures, Scene((PlacedThing(row),)), np.random.default_rng(0))
    return np.asarray(Image.fromarray(plain).resize((SIDE, SIDE), Image.Resampling.BOX))


def main() -> None:
    """Write the sheet and its captions."""
    pictures = Pictures.load()
    rows = rows_of_all_styles(pictures)
    things = sorted(map(int, np.random.default_rng(11).choice(list(rows), THINGS, replace=False)))
    sheet = [[small(pictures, rows[thing][style]) for thing in things] for style in STYLES]
    Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in sheet])).save(
        TARGET / "starter_references.png", optimize=True
    )
    captions = {
        "side": SIDE,
        "names": [with_article(pictures.things[thing].name) for thing in things],
        "styles": [STYLE_WORDS[style][0] for style in STYLES],
    }
    (TARGET / "starter_references.json").write_text(json.dumps(captions, indent=1) + "\n")


if __name__ == "__main__":
    main()
