from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import RunCommand
from tests.tiny.generation import INIT_IMAGE

from safelight.generation.control.preprocessors import PREPROCESSORS


@pytest.fixture(autouse=True)
def _input(tmp_path: Path) -> None:
    INIT_IMAGE.save(tmp_path / "small.png")


def test_a_preprocessed_picture_is_written(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside(
        "preprocess", "small.png", "--with", "threshold", "--set", "threshold=90", "--out", "x.png", "--json"
    )
    assert ran.status == 0
    body = ran.json_body
    assert (body["path"], body["width"], body["height"]) == ("x.png", 64, 64)
    assert (body["preprocessor"], body["parameters"]) == ("threshold", {"threshold": 90})
    assert body["verdict"]["decision"] == "allow"
    with Image.open(tmp_path / "x.png") as written:
        found = np.asarray(written.convert("RGB"))
    white = (np.asarray(INIT_IMAGE.convert("RGB")) > 90).all(axis=2)
    assert np.array_equal(found[..., 0] == 255, white)


def test_in_a_folder_its_name_says_how_it_was_made(inside: RunCommand, tmp_path: Path) -> None:
    ran = inside(
        "preprocess", "small.png", "--with", "lineart_standard", "--resolution", "128", "--out", "out"
    )
    assert "out/small-line-art.png  128 x 128" in ran.out
    assert (tmp_path / "out" / "small-line-art.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["small.png", "--with", "canyn"], "preprocessor.unknown"),
        (["small.png", "--with", "canny", "--set", "low=-1"], "request.below_minimum"),
        (["small.png", "--with", "canny", "--resolution", "8"], "request.below_minimum"),
        (["small.png", "--with", "soft_edge"], "extra.missing"),
        (["nowhere.png", "--with", "canny"], "file.missing"),
        (["small.png", "--with", "canny", "--set", "low"], "usage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_invalid_input_is_one_error(
    arguments: list[str], code: str, inside: RunCommand, tmp_path: Path
) -> None:
    ran = inside("preprocess", *arguments, "--json")
    assert (ran.status, ran.json_body["error"]["code"]) == (2, code)
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


def test_a_blocked_picture_is_not_preprocessed(
    inside: RunCommand, nothing_goes: Path, tmp_path: Path
) -> None:
    ran = inside(
        "preprocess", "small.png", "--with", "blur", "--policy", nothing_goes, "--out", "out", "--json"
    )
    assert (ran.status, ran.json_body["error"]["code"]) == (1, "blocked")
    assert not (tmp_path / "out").exists()


def test_the_list(inside: RunCommand) -> None:
    assert [row["name"] for row in inside("preprocessors", "--json").json_body["preprocessors"]] == list(
        PREPROCESSORS
    )
    told = inside("preprocessors").out
    assert "low=100 (0 to 1000): Edges continue where the gradient is above it." in told
    assert "its weights are not installed" in told
