from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.cli.conftest import RunCommand
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import read_metadata

QUICK = ("--steps", "3", "--seed", "7")
TEXT = (*QUICK, "--size", "64x64")


@pytest.fixture(autouse=True)
def _inputs(tmp_path: Path) -> None:
    INIT_IMAGE.save(tmp_path / "init.png")
    MASK.save(tmp_path / "mask.png")


@pytest.mark.parametrize(
    ("made", "inputs"),
    [
        (["generate", "a {red|blue} cat", *TEXT, "--sampler", "Euler a", "--out", "x.png"], []),
        (["generate", "a cat", *TEXT, "--hires", "1.5", "--out", "x.jpg", "--file-quality", "70"], []),
        (["generate", "a cat", *TEXT, "--set", 'variation={"seed":1,"strength":0.2}', "--out", "x.webp"], []),
        (
            ["edit", "init.png", "a cat", *QUICK, "--strength", "0.7", "--out", "x.png"],
            ["--init", "init.png"],
        ),
        (
            ["edit", "init.png", "a cat", *QUICK, "--mask", "mask.png", "--fill", "noise", "--out", "x.png"],
            ["--init", "init.png", "--mask", "mask.png"],
        ),
    ],
    ids=lambda value: " ".join(value[:1]),
)
def test_the_same_bytes_again(made: list[str], inputs: list[str], inside: RunCommand, tmp_path: Path) -> None:
    assert inside(*made).status == 0
    (path,) = tmp_path.glob("x.*")
    ran = inside("reproduce", path.name, *inputs, "--out", "again", "--json")
    assert ran.status == 0
    assert ran.json_body == {
        "path": path.name,
        "identical": True,
        "within_tolerance": False,
        "differences": [],
        "out": "again",
    }
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert "the same, byte for byte" in inside("reproduce", path.name, *inputs).out


def test_changed_weights_are_named(inside: RunCommand, tiny: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("sd1"), tmp_path / "mine"))
    assert inside("generate", "a cat", *TEXT, "--checkpoint", "./mine", "--out", "x.png").status == 0
    assert inside("reproduce", "x.png").status == 0
    assert inside("reproduce", "x.png", "--checkpoint", tiny("sd1")).status == 0
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    ran = inside("reproduce", "x.png")
    assert ran.status == 1
    assert "not the same" in ran.out
    assert "checkpoint.digest is" in ran.out
    assert "Pixels differ" in ran.out


def test_a_batched_image_may_differ_in_its_last_bits(inside: RunCommand, tmp_path: Path) -> None:
    assert inside("generate", "a cat", *TEXT, "--out", "x.png").status == 0
    path = tmp_path / "x.png"
    metadata = read_metadata(path.read_bytes())
    assert metadata.record is not None
    record = metadata.record.replace('"batched":false', '"batched":true')
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    near = encode_image(Image.fromarray(pixels), "png", replace(metadata, record=record))
    path.write_bytes(near)
    ran = inside("reproduce", "x.png")
    assert ran.status == 0
    assert "the same within tolerance" in ran.out
    assert "Pixels differ by up to 1 of 255" in ran.out
    body = inside("reproduce", "x.png", "--json").json_body
    assert (body["identical"], body["within_tolerance"]) == (False, True)
    assert "together with other pictures" in inside("info", "x.png").out


def test_another_policy_is_reported(inside: RunCommand, nothing_goes: Path, anything_goes: Path) -> None:
    assert inside("generate", "a cat", *TEXT, "--out", "x.png").status == 0
    ran = inside("reproduce", "x.png", "--policy", nothing_goes, "--out", "y.png", "--json")
    assert ran.status == 1
    assert ran.json_body["out"] is None
    assert ran.json_body["differences"][-1] == "The policy blocks it here."
    assert inside("reproduce", "x.png", "--policy", anything_goes).status == 0


@pytest.fixture(scope="module")
def edited() -> list[bytes]:
    """The file of an edited image, once a test has made it."""
    return []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["init.png"], "record.missing"),
        (["nowhere.png"], "file.missing"),
        (["edited.png"], "record.reproduce"),
        (["edited.png", "--init", "mask.png"], "record.reproduce"),
        (["edited.png", "--init", "init.png", "--mask", "mask.png"], "record.reproduce"),
        (["edited.png", "--init", "init.png", "--checkpoint", "nonsense"], "checkpoint.missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_missing_inputs_are_reported(
    arguments: list[str], code: str, inside: RunCommand, edited: list[bytes], tmp_path: Path
) -> None:
    if edited:
        (tmp_path / "edited.png").write_bytes(edited[0])
    else:
        assert inside("edit", "init.png", "a cat", *QUICK, "--out", "edited.png").status == 0
        edited.append((tmp_path / "edited.png").read_bytes())
    ran = inside("reproduce", *arguments, "--json")
    assert (ran.status, ran.json_body["error"]["code"]) == (2, code)
