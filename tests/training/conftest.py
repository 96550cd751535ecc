"""A handful of synthetic things in place of the icon packages: the scripts must work with any."""

from __future__ import annotations

import colorsys
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

# The scripts import each other by their bare names, as they are run from their folder.
sys.path.append(str(Path(__file__).parents[2] / "training"))

if TYPE_CHECKING:
    from scenes import Pictures

SIDE = 128
HUES_OF_THINGS = {"red apple": 0, "toy ball": 215, "umbrella": 120, "sunglasses": 275}
"""Things of one colour, with their hue in degrees."""


def disc(*hues: float, saturation: float = 0.9, value: float = 0.9) -> np.ndarray:
    """A disc over most of the image in upright stripes of the hues, on transparent ground: uint8 [128, 128, 4]."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    colours = [[255 * part for part in colorsys.hsv_to_rgb(hue / 360, saturation, value)] for hue in hues]
    stripes = np.array(colours)[columns * len(hues) // SIDE]
    alpha = np.where((rows - 63.5) ** 2 + (columns - 63.5) ** 2 < 60**2, 255, 0)
    return np.dstack([stripes, alpha]).round().astype(np.uint8)


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """Each thing in two styles: four things of one colour, one of two, a grey one."""
    from pictures import Row, Thing
    from scenes import Pictures

    def thing(name: str, *tags: str) -> Thing:
        return Thing(name.replace(" ", "-"), name, list(tags), "objects", "tool")

    things = [
        thing("red apple", "fruit", "orchard"),
        thing("toy ball", "sport"),
        thing("umbrella", "rain", "weather"),
        thing("sunglasses"),
        thing("cat face", "pet"),
        thing("anvil", "iron"),
    ]
    drawn = [disc(hue) for hue in HUES_OF_THINGS.values()] + [disc(0, 180), disc(0, saturation=0.0)]
    rows = [Row(number, style) for style in ("3d", "sticker") for number in range(len(things))]
    return Pictures(np.stack(drawn * 2), things, rows)
