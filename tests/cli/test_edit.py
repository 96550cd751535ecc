from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import RunCommand
from tests.tiny.generation import INIT_IMAGE, MASK

QUICK = ("--steps", "3", "--seed", "7")


@pytest.fixture(autouse=True)
def _inputs(tmp_path: Path) -> None:
    INIT_IMAGE.save(tmp_path / "init.png")
    MASK.save(tmp_path / "mask.png")


def read_pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_image_to_image(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside("edit", "init.png", "a cat", *QUICK, "--strength", "0.7", "--out", "x.png", "--json")
    assert ran.status == 0
    assert (ran.json_body["width"], ran.json_body["height"]) == (64, 64)
    record = inside("info", "x.png", "--json").json_body["record"]
    assert (record["mode"], record["strength"], record["mask"]) == ("image-to-image", 0.7, None)
    assert not np.array_equal(read_pixels(tmp_path / "x.png"), np.asarray(INIT_IMAGE))


def test_only_the_masked_area_changes(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside("edit", "init.png", "a cat", *QUICK, "--mask", "mask.png", "--blur", "0", "--out", "x.png")
    assert ran.status == 0
    outside = np.asarray(MASK) == 0
    found = read_pixels(tmp_path / "x.png")
    assert np.array_equal(found[outside], np.asarray(INIT_IMAGE)[outside])
    inverted = inside(
        *("edit", "init.png", "a cat", *QUICK, "--mask", "mask.png", "--blur", "0", "--invert"),
        *("--out", "y.png"),
    )
    assert inverted.status == 0
    assert np.array_equal(read_pixels(tmp_path / "y.png")[~outside], np.asarray(INIT_IMAGE)[~outside])


def test_every_option_is_in_the_record(inside: RunCommand) -> None:
    ran = inside(
        *("edit", "init.png", "a cat", *QUICK, "--mask", "mask.png", "--fill", "noise", "--padding", "5"),
        *("--only-masked", "--size", "32x48", "--set", "inpaint.blur=2", "--out", "x.png"),
    )
    assert ran.status == 0, ran.err
    record = inside("info", "x.png", "--json").json_body["record"]
    assert record["inpaint"] == {
        "blur": 2,
        "padding": 5,
        "only_masked": True,
        "fill": "noise",
        "invert": False,
    }
    assert (record["width"], record["height"], record["strength"]) == (32, 48, 1.0)


def test_outpainting(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside(
        *("edit", "init.png", "a cat", *QUICK, "--left", "16", "--top", "8", "--blur", "0", "--out", "x.png")
    )
    assert ran.status == 0
    found = read_pixels(tmp_path / "x.png")
    assert found.shape == (72, 80, 3)
    assert np.array_equal(found[8:, 16:], np.asarray(INIT_IMAGE))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere.png", "a cat"], "file.missing"),
        (["init.png", "a cat", "--mask", "nowhere.png"], "file.missing"),
        (["torn.png", "a cat"], "image.not_recognised"),
        (["init.png", "a cat", "--mask", "small.png"], "request.mask"),
        (["init.png", "a cat", "--mask", "black.png"], "request.mask"),
        (["init.png", "a cat", "--mask", "mask.png", "--left", "8"], "request.conflict"),
        (["init.png", "a cat", "--strength", "0.1"], "request.no_step"),
        (["init.png", "a cat", "--strength", "2"], "request.above_maximum"),
        (["init.png", "a cat", "--left", "-8"], "request.below_minimum"),
        (["init.png", "a cat", "--mask", "mask.png", "--fill", "water"], "request.choice"),
        (["init.png", "a cat", "--size", "70x64"], "request.not_multiple"),
        (["init.png", "a cat", "--out", "mask.png/x.png"], "output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_invalid_input_is_one_error_and_writes_no_file(
    arguments: list[str], code: str, inside: RunCommand, tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"nothing of a picture")
    MASK.resize((32, 32)).save(tmp_path / "small.png")
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    before = sorted(tmp_path.iterdir())
    ran = inside("edit", *arguments, *QUICK, "--json")
    assert ran.status == 2
    assert ran.json_body["error"]["code"] == code
    assert sorted(tmp_path.iterdir()) == before


def test_a_blocked_initial_image_is_not_used(inside: RunCommand, nothing_goes: Path, tmp_path: Path) -> None:
    ran = inside("edit", "init.png", "a cat", *QUICK, "--policy", nothing_goes, "--out", "out", "--json")
    assert ran.status == 1
    assert ran.json_body["error"]["code"] == "blocked"
    assert "initial picture" in ran.json_body["error"]["message"]
    assert not (tmp_path / "out").exists()
