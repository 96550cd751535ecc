from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from safelight.generation.infotext import infotext_from_record
from safelight.generation.record import ReproductionRecord
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata

KEYS = {"path", "format", "width", "height", "parameters", "infotext", "record", "notes", "error"}
RECORD = ReproductionRecord(
    versions={"safelight": "0.2.0", "torch": "2", "diffusers": "0.42", "transformers": "5"},
    machine={"device": "cpu", "precision": "fp32", "backend": "eager", "threads": 2},
    mode="text-to-image",
    checkpoint={"name": "starter", "family": "sd1", "digest": "ab" * 32},
    prompt="a {red|blue} apple",
    expanded_prompt="a red apple\n\x1b[31mon a 桌子",
    expanded_negative_prompt="blurry",
    seed=42,
    width=512,
    height=768,
    steps=20,
    sampler="Euler a",
    guidance_scale=7.0,
)
PICTURE = Image.new("RGB", (12, 8))


@pytest.fixture
def pictures(tmp_path):
    """Each kind of image: ours in three formats, another program's, a record alone, nothing, a broken record."""
    metadata = {
        "ours": Metadata(infotext_from_record(RECORD), RECORD.to_json()),
        "theirs": Metadata("Nice day at sea"),
    }
    metadata |= {"alone": Metadata(record=RECORD.to_json()), "nothing": Metadata()}
    metadata |= {"broken": Metadata(infotext_from_record(RECORD), '{"format":9}')}
    for name, content in metadata.items():
        for kind in ("png", "jpeg", "webp"):
            (tmp_path / f"{name}.{kind}").write_bytes(encode_image(PICTURE, kind, content))
    return tmp_path


def test_json_has_everything_in_all_formats(safelight, pictures):
    ran = safelight("info", "ours.png", "ours.jpeg", "ours.webp", "--json")
    assert ran.status == 0
    for kind, line in zip(("png", "jpeg", "webp"), ran.json_lines, strict=True):
        assert set(line) == KEYS
        assert (line["path"], line["format"]) == (f"ours.{kind}", kind.upper())
        assert (line["width"], line["height"]) == (12, 8)
        assert line["infotext"] == infotext_from_record(RECORD)
        assert line["parameters"]["Prompt"] == RECORD.expanded_prompt
        assert line["parameters"]["Seed"] == "42"
        assert line["record"] == json.loads(RECORD.to_json())
        assert line["error"] is None


def test_every_image_has_its_line_whatever_its_errors(safelight, pictures):
    (pictures / "letter.png").write_text("Dear reader")
    names = ["theirs.jpeg", "alone.webp", "nothing.png", "broken.jpeg", "letter.png", "missing.png"]
    ran = safelight("info", *names, "--json")
    theirs, alone, nothing, broken, letter, missing = ran.json_lines
    assert ran.status == 2
    assert all(set(line) == KEYS for line in ran.json_lines)
    assert (theirs["infotext"], theirs["parameters"], theirs["error"]) == ("Nice day at sea", None, None)
    assert (alone["infotext"], alone["record"]["seed"], alone["error"]) == (None, 42, None)
    assert (nothing["width"], nothing["error"]["code"]) == (12, "record.missing")
    assert broken["error"]["code"] == "record.invalid"
    assert broken["parameters"]["Steps"] == "20"
    assert (letter["format"], letter["error"]["code"]) == (None, "image.not_recognised")
    assert missing["error"]["code"] == "file.missing"


def test_text_output_without_control_characters(safelight, pictures):
    ran = safelight("info", "ours.png")
    assert ran.status == 0
    for part in (
        "ours.png",
        "PNG 12 x 8",
        "on a 桌子",
        "blurry",
        "Euler a",
        "a {red|blue} apple",
        "starter (sd1",
        "torch 2",
    ):
        assert part in ran.out
    assert "\x1b[31m" not in ran.out


def test_text_output_without_metadata(safelight, pictures):
    ran = safelight("info", "nothing.webp", "theirs.png")
    assert ran.status == 2
    assert "[record.missing]" in ran.out
    assert "Nice day at sea" in ran.out


def test_standard_input(safelight):
    out = io.BytesIO()
    PICTURE.save(out, "GIF")
    data = encode_image(PICTURE, "png", Metadata("x"))
    assert safelight("info", "-", "--json", stdin=data).json_body["infotext"] == "x"
    gif = safelight("info", "-", "--json", stdin=out.getvalue()).json_body
    assert (gif["error"]["code"], gif["notes"]) == (
        "record.missing",
        ["GIF files are not searched for metadata"],
    )
    assert safelight("info", "-", "--json", stdin=data, SAFELIGHT_MAX_BYTES="9").json_body["error"][
        "code"
    ] == ("image.too_many_bytes")
