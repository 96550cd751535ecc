from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import RunCommand
from tests.tiny.generation import INIT_IMAGE

from safelight.generation.request import MAX_UPSCALE


@pytest.fixture(autouse=True)
def _input(tmp_path: Path) -> None:
    INIT_IMAGE.save(tmp_path / "small.png")


def read_image(path: Path) -> tuple[str | None, tuple[int, int]]:
    with Image.open(path) as picture:
        picture.load()
        return picture.format, picture.size


def test_help_has_the_permitted_factors(inside: RunCommand) -> None:
    assert f"Factor on width and height, 1 to {MAX_UPSCALE}." in " ".join(
        inside("upscale", "--help").out.split()
    )


def test_a_larger_image(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside("upscale", "small.png", "--by", "1.5", "--upscaler", "bicubic", "--out", "out", "--json")
    assert ran.status == 0
    assert (ran.json_body["width"], ran.json_body["height"], ran.json_body["upscaler"]) == (96, 96, "bicubic")
    assert ran.json_body["path"] == "out/small.png"
    assert read_image(tmp_path / "out" / "small.png") == ("PNG", (96, 96))
    told = inside("upscale", "small.png", "--out", "out")
    assert "out/small-2.png  128 x 128" in told.out


def test_the_format_follows_from_the_path(inside: RunCommand, tmp_path: Path) -> None:
    assert inside("upscale", "small.png", "--out", "x.webp").status == 0
    assert read_image(tmp_path / "x.webp") == ("WEBP", (128, 128))
    assert inside("upscale", "small.png", "--format", "jpeg", "--out", "o").status == 0
    assert read_image(tmp_path / "o" / "small.jpg") == ("JPEG", (128, 128))


def test_the_infotext_is_kept(inside: RunCommand) -> None:
    quick = ("--steps", "2", "--seed", "7", "--size", "64x64")
    assert inside("generate", "a cat", *quick, "--out", "cat.png").status == 0
    assert inside("upscale", "cat.png", "--out", "large.png").status == 0
    found = inside("info", "large.png", "--json").json_body
    assert found["record"] is None
    assert found["parameters"]["Prompt"] == "a cat"
    assert found["parameters"]["Postprocess upscaler"] == "lanczos"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere.png"], "file.missing"),
        (["small.png", "--by", "9"], "request"),
        (["small.png", "--by", "nan"], "request"),
        (["small.png", "--upscaler", "nonsense"], "upscaler.unknown"),
        (["small.png", "--out", "small.png/x.png"], "output"),
        (["small.png", "--format", "gif"], "usage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_invalid_input_is_one_error(
    arguments: list[str], code: str, inside: RunCommand, tmp_path: Path
) -> None:
    ran = inside("upscale", *arguments, "--json")
    assert (ran.status, ran.json_body["error"]["code"]) == (2, code)
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


def test_a_blocked_image_is_not_upscaled(inside: RunCommand, nothing_goes: Path, tmp_path: Path) -> None:
    ran = inside("upscale", "small.png", "--policy", nothing_goes, "--out", "out", "--json")
    assert (ran.status, ran.json_body["error"]["code"]) == (1, "blocked")
    assert not (tmp_path / "out").exists()
