"""Make the training pictures from icon packages: pictures.npy and table.json in work.

Four artists drew the same things, so each thing comes in up to four styles. Animals, plants, food, places, vehicles,
clothes, instruments, tools and the like are used; people, the many similar faces, and letters, signs and flags, which
are text, are left out.
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
"""Height and width of each picture, in pixels."""

STYLES = {
    "3d": "@lobehub/fluent-emoji-3d",
    "flat": "@iconify-json/fluent-emoji-flat",
    "cartoon": "@iconify-json/noto",
    "sticker": "@iconify-json/twemoji",
}
"""Style word of a caption -> the package with that style."""

USED_SUBGROUPS = {
    *("animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug"),
    *("plant-flower", "plant-other", "food-fruit", "food-vegetable", "food-prepared", "food-asian"),
    *("food-sweet", "drink", "place-geographic", "place-building", "place-other", "sky-weather"),
    *("transport-ground", "transport-water", "transport-air", "event", "sport", "game", "clothing"),
    *("musical-instrument", "household", "tool", "light-video", "face-costume", "cat-face"),
}
"""The emoji list's subgroups that are used, the most requested ones; all of them would take too long on a CPU."""
MAX_NAME_WORDS = 2
"""Maximum number of words of a name: longer names distinguish similar things (sun behind large cloud)."""

COMMON_NAMES = {
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
"""Uncommon names of the list -> common names."""


@dataclass(frozen=True)
class Thing:
    """One thing: its name, other words for it, and its place in the emoji list."""

    code: str
    name: str
    tags: list[str]
    group: str
    subgroup: str


@dataclass(frozen=True)
class Row:
    """One picture: its thing and its style."""

    thing: int
    style: str


def install_packages() -> Path:
    """Install the pinned packages with npm once; returns their node_modules folder."""
    modules = WORK / "node_modules"
    if not modules.is_dir():
        WORK.mkdir(exist_ok=True)
        (WORK / "package.json").write_bytes((HERE / "package.json").read_bytes())
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=WORK, check=True
        )
    return modules


def plain_code(code: str) -> str:
    """An emoji's code points in lower case without the variation selector, which works for all packages."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def plain_name(label: str) -> str:
    """A label as a user would type it: no colon, straight quotes, lower case."""
    return label.replace("’", "'").replace("“", "").replace("”", "").replace(":", "").lower()


def read_things(modules: Path) -> list[Thing]:
    """Read the things that are used, in the emoji list's order."""
    data = modules / "emojibase-data"
    words: dict[str, dict[str, str]] = json.loads((data / "meta/groups.json").read_text())
    things = []
    for entry in json.loads((data / "en/data.json").read_text()):
        group = words["groups"].get(str(entry.get("group")))
        subgroup = words["subgroups"].get(str(entry.get("subgroup")))
        name = plain_name(entry["label"])
        if group is None or subgroup not in USED_SUBGROUPS or len(name.split()) > MAX_NAME_WORDS:
            continue
        tags = [tag for tag in entry.get("tags", []) if tag.isascii() and len(tag) > 2]
        things.append(
            Thing(plain_code(entry["hexcode"]), COMMON_NAMES.get(name, name), tags, group, subgroup)
        )
    return things


def render_svg(svg: str, size: int) -> Image.Image:
    """Render an SVG document with transparency."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))))


def icons_of(package: Path) -> dict[str, str]:
    """All icons of a package by plain code: an SVG document, or (3d) a picture's path."""
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


def render_icon(icon: str, size: int = SIZE) -> np.ndarray:
    """Render one icon, an SVG document or a picture's path, to (size, size, 4) uint8 with straight alpha."""
    picture = render_svg(icon, size) if icon.startswith("<svg") else Image.open(icon)
    return np.asarray(picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS))


def rows_and_icons(things: list[Thing], modules: Path) -> Iterator[tuple[Row, str]]:
    """Each existing combination of thing and style, with its icon."""
    for style, package in STYLES.items():
        icons = icons_of(modules / package)
        for number, thing in enumerate(things):
            if thing.code in icons:
                yield Row(number, style), icons[thing.code]


def render_icons(icons: Iterable[str], size: int = SIZE) -> np.ndarray:
    """Render icons to (n, size, size, 4) uint8."""
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(render_icon, icons, repeat(size))))


def main() -> None:
    """Render all icons and write the array and its table."""
    modules = install_packages()
    things = read_things(modules)
    rows, icons = zip(*rows_and_icons(things, modules), strict=True)
    pictures = render_icons(icons)
    np.save(WORK / "pictures.npy", pictures)
    table = {"things": [asdict(thing) for thing in things], "rows": [asdict(row) for row in rows]}
    (WORK / "table.json").write_text(json.dumps(table, indent=1))
    print(f"{len(rows)} pictures of {len(things)} things in {len(STYLES)} styles")


if __name__ == "__main__":
    main()
