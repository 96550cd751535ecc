"""From icon packages to pictures with names: pictures.npy and table.json in work.

Four artists drew the same things, so every thing comes in up to four styles. Animals, plants, food, places, vehicles,
clothes, instruments, tools and the like are drawn; what is left out are people, the many faces that differ in a line,
and letters, signs and flags, which are text and not things.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

HERE = Path(__file__).parent
WORK = HERE / "work"
SIZE = 128
"""Height and width of every picture, in pixels."""

STYLES = {
    "3d": "@lobehub/fluent-emoji-3d",
    "flat": "@iconify-json/fluent-emoji-flat",
    "cartoon": "@iconify-json/noto",
    "sticker": "@iconify-json/twemoji",
}
"""Style word of a caption -> the package whose artist draws that way."""

DRAWN = {
    *("animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug"),
    *("plant-flower", "plant-other", "food-fruit", "food-vegetable", "food-prepared", "food-asian"),
    *("food-sweet", "drink", "place-geographic", "place-building", "place-other", "sky-weather"),
    *("transport-ground", "transport-water", "transport-air", "event", "sport", "game", "clothing"),
    *("musical-instrument", "household", "tool", "light-video", "face-costume", "cat-face"),
}
"""The emoji list's subgroups that are drawn: what people ask for first. All would take a processor too long."""
WORDS = 2
"""Most words a name may have: longer ones tell look-alikes apart (sun behind large cloud)."""

SAID = {
    "automobile": "car",
    "deciduous tree": "tree",
    "evergreen tree": "fir tree",
    "honeybee": "bee",
    "lady beetle": "ladybug",
    "sauropod": "dinosaur",
    "articulated lorry": "truck",
    "locomotive": "steam train",
    "hot beverage": "coffee",
    "bullet train": "fast train",
    "glowing star": "shining star",
    "wrapped gift": "gift",
}
"""Names of the list that nobody would type -> what people say."""


@dataclass(frozen=True)
class Thing:
    """One drawable thing: its name, other words for it, and where it stands in the emoji list."""

    code: str
    name: str
    tags: list[str]
    group: str
    subgroup: str


@dataclass(frozen=True)
class Row:
    """One picture: which thing, in which style."""

    thing: int
    style: str


def install_packages() -> Path:
    """Fetch the pinned packages with npm once; returns their node_modules folder."""
    modules = WORK / "node_modules"
    if not modules.is_dir():
        WORK.mkdir(exist_ok=True)
        (WORK / "package.json").write_bytes((HERE / "package.json").read_bytes())
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=WORK, check=True
        )
    return modules


def plain_code(code: str) -> str:
    """An emoji's code points in lower case without the variation selector, as all packages can be asked for."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def plain_name(label: str) -> str:
    """A label as a user would type it: no colon, straight quotes, lower case."""
    return label.replace("’", "'").replace("“", "").replace("”", "").replace(":", "").lower()


def read_things(modules: Path) -> list[Thing]:
    """The things worth drawing, in the emoji list's order."""
    data = modules / "emojibase-data"
    words: dict[str, dict[str, str]] = json.loads((data / "meta/groups.json").read_text())
    things = []
    for entry in json.loads((data / "en/data.json").read_text()):
        group = words["groups"].get(str(entry.get("group")))
        subgroup = words["subgroups"].get(str(entry.get("subgroup")))
        name = plain_name(entry["label"])
        if group is None or subgroup not in DRAWN or len(name.split()) > WORDS:
            continue
        tags = [tag for tag in entry.get("tags", []) if tag.isascii() and len(tag) > 2]
        things.append(Thing(plain_code(entry["hexcode"]), SAID.get(name, name), tags, group, subgroup))
    return things


def rasterise(svg: str, size: int) -> Image.Image:
    """An SVG document as a picture with transparency."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))))


def icons_of(package: Path) -> dict[str, str]:
    """Every icon of a package by plain code: an SVG document, or (3d) a picture's path."""
    assets = package / "assets"
    if assets.is_dir():
        return {plain_code(path.stem): str(path) for path in sorted(assets.iterdir())}
    icons: dict[str, Any] = json.loads((package / "icons.json").read_text())
    names: dict[str, str] = json.loads((package / "chars.json").read_text())
    found: dict[str, str] = {}
    for code, name in names.items():
        icon = icons["icons"].get(name)
        if icon is not None:
            width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
            found[plain_code(code)] = (
                f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
            )
    return found


def draw(icon: str, size: int = SIZE) -> np.ndarray:
    """One icon, an SVG document or a picture's path, as (size, size, 4) uint8 with straight alpha."""
    picture = rasterise(icon, size) if icon.startswith("<svg") else Image.open(icon)
    return np.asarray(picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS))


def rows_and_icons(things: list[Thing], modules: Path) -> Iterator[tuple[Row, str]]:
    """Every (thing, style) that was drawn, with its icon."""
    for style, package in STYLES.items():
        icons = icons_of(modules / package)
        for number, thing in enumerate(things):
            if thing.code in icons:
                yield Row(number, style), icons[thing.code]


def draw_all(icons: Iterable[str], size: int = SIZE) -> np.ndarray:
    """Icons as (n, size, size, 4) uint8."""
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(draw, icons, repeat(size))))


def main() -> None:
    """Rasterise everything and write the array and its table."""
    modules = install_packages()
    things = read_things(modules)
    rows, icons = zip(*rows_and_icons(things, modules), strict=True)
    pictures = draw_all(icons)
    np.save(WORK / "pictures.npy", pictures)
    table = {"things": [asdict(thing) for thing in things], "rows": [asdict(row) for row in rows]}
    (WORK / "table.json").write_text(json.dumps(table, indent=1))
    print(f"{len(rows)} pictures of {len(things)} things in {len(STYLES)} styles")


if __name__ == "__main__":
    main()
