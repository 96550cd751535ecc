from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pictures import SIZE, STYLES, icons_of, plain_code, plain_name, read_things, render_icon, rows_and_icons

RED = '<rect width="32" height="32" fill="#f00"/>'
HALF = '<rect width="8" height="16" fill="#00f"/>'


def entry(
    label: str, code: str, group: int | None = 0, subgroup: int | None = 0, **more: Any
) -> dict[str, Any]:
    return {"label": label, "hexcode": code, "group": group, "subgroup": subgroup, **more}


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A node_modules folder with the required files: two styles have icons, the others none."""
    data = tmp_path / "emojibase-data"
    write(
        data / "meta/groups.json",
        {
            "groups": {"0": "food-drink", "1": "people-body", "2": "travel-places"},
            "subgroups": {"0": "food-fruit", "1": "person-sport", "2": "transport-ground"},
        },
    )
    write(
        data / "en/data.json",
        [
            entry("Red Apple", "1F34E", tags=["fruit", "é", "no", "orchard"]),
            entry("“Soon” arrow", "2B05-FE0F"),
            entry("person running", "1F3C3", 1, 1),
            entry("automobile", "1F697", 2, 2),
            entry("red apple with a worm", "1F33F"),
            entry("skin", "1F3FB", None, None),
        ],
    )
    for style in ("flat", "cartoon", "sticker"):
        package = tmp_path / STYLES[style]
        write(package / "chars.json", {"1f34e": "red-apple", "2b05-fe0f": "arrow", "1f999": "nowhere"})
        icons = {"red-apple": {"body": RED}, "arrow": {"body": HALF, "width": 16, "height": 16}}
        if style == "sticker":
            del icons["arrow"]
        write(package / "icons.json", {"width": 32, "height": 32, "icons": icons})
    assets = tmp_path / STYLES["3d"] / "assets"
    assets.mkdir(parents=True)
    Image.new("RGBA", (256, 256), (0, 255, 0, 128)).save(assets / "1F34E.webp", lossless=True)
    return tmp_path


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_codes_and_names_are_normalised() -> None:
    assert plain_code("2B05-FE0F") == "2b05"
    assert plain_code("1F3C3-200D-2640-FE0F") == "1f3c3-200d-2640"
    assert plain_name("woman\u2019s hat: “Mrs. Claus”") == "woman's hat mrs. claus"


def test_only_usable_things_are_read(modules: Path) -> None:
    things = read_things(modules)
    assert [thing.name for thing in things] == ["red apple", "soon arrow", "car"]
    apple = things[0]
    assert (apple.code, apple.group, apple.subgroup) == ("1f34e", "food-drink", "food-fruit")
    assert apple.tags == ["fruit", "orchard"]


def test_every_style_of_a_thing_is_a_row(modules: Path) -> None:
    rows = [row for row, _ in rows_and_icons(read_things(modules), modules)]
    assert [(row.thing, row.style) for row in rows] == [
        (0, "3d"),
        (0, "flat"),
        (1, "flat"),
        (0, "cartoon"),
        (1, "cartoon"),
        (0, "sticker"),
    ]


def test_icons_are_cut_outs_of_one_size(modules: Path) -> None:
    icons = icons_of(modules / STYLES["flat"])
    assert set(icons) == {"1f34e", "2b05"}
    red, half = render_icon(icons["1f34e"]), render_icon(icons["2b05"])
    assert red.shape == half.shape == (SIZE, SIZE, 4)
    assert red.dtype == np.uint8
    assert (red == (255, 0, 0, 255)).all()
    assert (half[:, :62] == (0, 0, 255, 255)).all()
    assert not half[:, 66:, 3].any()


def test_raster_images_are_resized_too(modules: Path) -> None:
    pixels = render_icon(icons_of(modules / STYLES["3d"])["1f34e"])
    assert pixels.shape == (SIZE, SIZE, 4)
    assert (pixels == (0, 255, 0, 128)).all()
