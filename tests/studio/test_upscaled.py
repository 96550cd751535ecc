from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny.generation import INIT_IMAGE

from safelight.errors import OutputError, UsageError
from safelight.generation.infotext import parse_infotext
from safelight.images.metadata.file_metadata import read_metadata
from safelight.studio import Studio
from safelight.studio.upscaled import add_upscaling


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_infotext_is_kept_without_the_record(suffix: str, drawing_studio: Studio, tmp_path: Path) -> None:
    (drawn,) = drawing_studio.generate("a red cat", steps=2, seed=7, width=64, height=64)
    drawn.save(tmp_path / f"small.{suffix}")
    enlarged = drawing_studio.upscale(tmp_path / f"small.{suffix}", by=2, upscaler="bicubic")
    path = enlarged.save(tmp_path / f"large.{suffix}")
    found = read_metadata(path)
    assert found.record is None  # it describes another image
    assert found.infotext is not None
    read = parse_infotext(found.infotext)
    assert read.prompt == "a red cat"
    assert read.parameters["Seed"] == "7"
    assert read.parameters["Postprocess upscale by"] == "2"
    assert read.parameters["Postprocess upscaler"] == "bicubic"


@pytest.mark.parametrize("words", ["just words", "two\nlines", ""])
def test_an_infotext_without_parameters_stays_without(words: str) -> None:
    assert add_upscaling(words, 1.5, "lanczos") == words


def test_an_upscalers_name_cannot_inject_parameters() -> None:
    before = "a cat\nSteps: 2, Sampler: Euler, Seed: 7, Size: 64x64"
    after = add_upscaling(before, 1.5, "4x, Seed: 8")
    assert after is not None
    read = parse_infotext(after)
    assert read.parameters["Postprocess upscaler"] == "4x, Seed: 8"
    assert read.parameters["Seed"] == "7"


def test_nothing_is_added_to_an_image_without_metadata() -> None:
    assert add_upscaling(None, 2, "lanczos") is None


def test_as_json(drawing_studio: Studio, tmp_path: Path) -> None:
    enlarged = drawing_studio.upscale(INIT_IMAGE, by=2)
    body = enlarged.to_dict(tmp_path / "a.png")
    assert (body["width"], body["height"], body["upscaler"], body["factor"]) == (128, 128, "lanczos", 2)
    assert body["path"] == str(tmp_path / "a.png")
    assert body["verdict"]["decision"] == "allow"
    assert body["tiles"] == {}


def test_what_computed_the_tiles_of_a_network_is_said(drawing_studio: Studio) -> None:
    enlarged = drawing_studio.upscale(INIT_IMAGE, by=2, upscaler="starter-2x")
    assert enlarged.to_dict()["tiles"] == {"eager": 1}
    assert enlarged.notes == ()
    both = replace(enlarged, tiles={"eager": 2, "openvino": 7})
    assert both.notes == ("openvino computed 7 of 9 parts of the picture.",)


def test_paths_that_cannot_be_written(drawing_studio: Studio, tmp_path: Path) -> None:
    enlarged = drawing_studio.upscale(INIT_IMAGE, by=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        enlarged.save(tmp_path / "file" / "a.png")
    with pytest.raises(UsageError, match="suffix"):
        enlarged.save(tmp_path / "a.bmp")
