from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safelight.errors import FileMissingError, TrainingDataError
from safelight.generation.training.examples import Example, count_tags, find_examples, load_picture
from safelight.images.types import DecodeLimits

LIMITS = DecodeLimits()


def put_picture(path: Path, caption: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def test_captions_beside_pictures_in_the_order_of_names(tmp_path):
    put_picture(tmp_path / "b.png", "a bee,\n yellow\n")
    put_picture(tmp_path / "a.JPG", "\ufeffan ant")
    put_picture(tmp_path / ".hidden.png")
    (tmp_path / "notes.md").write_text("no picture")
    assert find_examples(tmp_path) == [
        Example(tmp_path / "a.JPG", "an ant"),
        Example(tmp_path / "b.png", "a bee, yellow"),
    ]


def test_a_table_names_the_pictures(tmp_path):
    put_picture(tmp_path / "more/b.png")
    put_picture(tmp_path / "unnamed.png")
    lines = [json.dumps({"file_name": "more/b.png", "text": "a bee", "other": 1}), ""]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    assert find_examples(tmp_path) == [Example(tmp_path / "more/b.png", "a bee")]


def test_the_trigger_is_put_before_captions_without_it(tmp_path):
    put_picture(tmp_path / "a.png", "an ant")
    put_picture(tmp_path / "b.png", "a bee, Zork style")
    captions = [example.caption for example in find_examples(tmp_path, "zork style")]
    assert captions == ["zork style, an ant", "a bee, Zork style"]


def test_tags_are_counted():
    captions = ["an ant, small", "a bee, small, ", "small"]
    counts = count_tags(Example(Path("x.png"), caption) for caption in captions)
    assert counts == {"small": 3, "an ant": 1, "a bee": 1}
    assert next(iter(counts)) == "small"


def test_a_folder_without_pictures_or_captions(tmp_path):
    with pytest.raises(FileMissingError, match="no folder"):
        find_examples(tmp_path / "nowhere")
    with pytest.raises(TrainingDataError, match="There are no pictures"):
        find_examples(tmp_path)
    for name in "abcde":
        put_picture(tmp_path / f"{name}.png", "  \n" if name == "a" else None)
    with pytest.raises(TrainingDataError, match=r"no caption for b\.png, c\.png, d\.png and 1 more"):
        find_examples(tmp_path)
    for name in "bcde":
        (tmp_path / f"{name}.txt").write_text("x")
    with pytest.raises(TrainingDataError, match=r"no caption for a\.png\."):
        find_examples(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingDataError, match=r"a\.txt is not text"):
        find_examples(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"a" * 70_000)
    with pytest.raises(TrainingDataError, match=r"a\.txt has more than"):
        find_examples(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Line 1 of metadata.jsonl is no JSON"),
        ("[" * 100_000, "Line 1 of metadata.jsonl is no JSON"),
        ("[]", "no file_name or no text"),
        ('{"file_name": "a.png"}', "no file_name or no text"),
        ('{"file_name": "a.png", "text": 3}', "no file_name or no text"),
        ('{"file_name": "a.png", "text": " "}', "no caption for a.png"),
        ('{"file_name": "../a.png", "text": "x"}', "outside of the folder"),
        ('{"file_name": "/etc/a.png", "text": "x"}', "outside of the folder"),
        ("", "There are no pictures"),
    ],
)
def test_a_damaged_table(tmp_path, line, message):
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(TrainingDataError, match=message):
        find_examples(tmp_path)


def test_pictures_are_cut_to_squares_out_of_their_middle(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    cropped = load_picture(Example(tmp_path / "wide.png", "x"), 20, LIMITS)
    assert cropped.image.size == (20, 20)
    assert np.asarray(cropped.image).min() > 200
    assert (cropped.size, cropped.corner) == ((120, 40), (20, 0))


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(TrainingDataError, match=r"broken\.png cannot be used: "):
        load_picture(Example(tmp_path / "broken.png", "x"), 16, LIMITS)
    with pytest.raises(TrainingDataError, match=r"missing\.png cannot be used: "):
        load_picture(Example(tmp_path / "missing.png", "x"), 16, LIMITS)
    path = put_picture(tmp_path / "large.png")
    with pytest.raises(TrainingDataError, match=r"large\.png cannot be used: "):
        load_picture(Example(path, "x"), 16, DecodeLimits(max_pixels=10))
