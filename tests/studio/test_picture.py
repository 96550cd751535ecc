from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.other_programs import read_with_sd_parsers

from safelight.errors import OutputError, UsageError
from safelight.generation.record import ReproductionRecord
from safelight.images import decode
from safelight.images.metadata.file_metadata import read_metadata
from safelight.studio import Picture, Studio
from safelight.studio import picture as module
from safelight.studio.picture import format_of_suffix, unused_path

PROMPT = "a (red:1.2) cat, naïve, 赤い\nsecond line"


@pytest.fixture(scope="module")
def picture(drawing_studio: Studio) -> Picture:
    return drawing_studio.generate(
        PROMPT, negative_prompt="blue", steps=2, seed=7, width=64, height=72, sampler="Euler a"
    )[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_a_saved_image_has_its_metadata(suffix: str, picture: Picture, tmp_path: Path) -> None:
    path = picture.save(tmp_path / "deep" / f"cat{suffix}")
    metadata = read_metadata(path)
    assert metadata.infotext == picture.infotext
    assert metadata.record is not None
    record = ReproductionRecord.parse(metadata.record)
    assert record.model_copy(update={"file": None}) == picture.record
    assert record.file is not None
    assert record.file.kind == format_of_suffix(path)
    assert decode(path).image.size == (64, 72)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_another_program_reads_the_same(suffix: str, picture: Picture, tmp_path: Path) -> None:
    found = read_with_sd_parsers(picture.save(tmp_path / f"cat.{suffix}").read_bytes())
    assert found is not None
    assert [prompt.value for prompt in found.prompts] == [PROMPT]
    assert [prompt.value for prompt in found.negative_prompts] == ["blue"]
    (sampler,) = found.samplers
    assert sampler.name == "Euler a"
    assert sampler.parameters["steps"] == "2"
    assert sampler.parameters["seed"] == "7"


def test_lossless_formats_keep_every_pixel(picture: Picture) -> None:
    for data in (picture.encode("png"), picture.encode("webp", lossless=True)):
        assert np.array_equal(np.asarray(decode(data).image), np.asarray(picture.image))
    small, large = picture.encode("jpeg", quality=20), picture.encode("jpeg", quality=95)
    assert len(small) < len(large)
    assert picture.encode("jpeg", quality=20) == small


def test_invalid_files(picture: Picture, tmp_path: Path) -> None:
    for name in ("cat.bmp", "cat", "cat.png.txt"):
        with pytest.raises(UsageError, match="suffix has to be one of"):
            picture.save(tmp_path / name)
    with pytest.raises(UsageError, match="quality"):
        picture.save(tmp_path / "cat.jpg", quality=0)
    with pytest.raises(UsageError, match="lossless"):
        picture.save(tmp_path / "cat.jpg", lossless=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        picture.save(tmp_path / "file" / "cat.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_no_partial_file_is_ever_visible(
    error: BaseException, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat.png").write_bytes(b"the one before")
    write = Path.write_bytes

    def torn(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises((OutputError, KeyboardInterrupt, ValueError)):
        picture.save(tmp_path / "cat.png")
    monkeypatch.undo()
    assert (tmp_path / "cat.png").read_bytes() == b"the one before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failing_encoder_writes_nothing(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise OutputError("no")

    monkeypatch.setattr(module, "encode_image", fail)
    with pytest.raises(OutputError):
        picture.save(tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []


def test_as_json(picture: Picture, tmp_path: Path) -> None:
    body = json.loads(json.dumps(picture.to_dict(tmp_path / "cat.png")))
    assert {name: body[name] for name in ("seed", "width", "height", "steps", "sampler", "stopped_at")} == {
        "seed": 7,
        "width": 64,
        "height": 72,
        "steps": 2,
        "sampler": "Euler a",
        "stopped_at": None,
    }
    assert body["path"].endswith("cat.png")
    assert body["verdict"]["decision"] == "allow"
    assert body["checkpoint"] == picture.record.checkpoint.name


@pytest.mark.parametrize(
    ("words", "seed", "name"),
    [
        ("A red Cat!", 7, "a-red-cat-7.png"),
        ("  ../../etc/passwd ", 7, "etc-passwd-7.png"),
        ("赤い", 7, "picture-7.png"),
        ("", None, "picture.png"),
        ("x" * 300, 7, f"{'x' * 48}-7.png"),
        ("a" * 47 + " b", 7, f"{'a' * 47}-7.png"),
        ("CON\n\0", 7, "con-7.png"),
    ],
)
def test_the_default_name_comes_from_the_prompt(
    words: str, seed: int | None, name: str, tmp_path: Path
) -> None:
    assert unused_path(tmp_path, words, seed, ".png") == tmp_path / name


def test_an_existing_name_is_not_reused(tmp_path: Path) -> None:
    given = []
    for _ in range(4):
        given.append(unused_path(tmp_path, "a cat", 7, ".png"))
        given[-1].touch()
    assert [path.name for path in given] == ["a-cat-7.png", "a-cat-7-2.png", "a-cat-7-3.png", "a-cat-7-4.png"]
    assert unused_path(tmp_path, "a cat", 7, ".jpg").name == "a-cat-7.jpg"


def test_an_image_can_be_read_by_any_program(picture: Picture) -> None:
    for kind in ("png", "jpeg", "webp"):
        with Image.open(io.BytesIO(picture.encode(kind))) as read:  # type: ignore[arg-type]
            read.load()
            assert read.size == (64, 72)
