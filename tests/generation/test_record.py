"""The reproduction record: complete, exact, and readable by other programs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import RecordInvalidError, RequestError
from safelight.generation.record import ReproductionRecord, differences, pixels_digest
from safelight.generation.request import Adapter, GenerationRequest, Inpaint, Mode

BODY: dict[str, Any] = {
    "versions": {"safelight": "0.2.0", "torch": "2.14.1", "diffusers": "0.42.1", "transformers": "5.23.0"},
    "machine": {"device": "cpu", "precision": "fp32", "backend": "eager", "threads": 2},
    "batched": True,
    "mode": "inpainting",
    "checkpoint": {"name": "starter", "family": "sd1", "digest": "a1" * 32, "configs": "a2" * 32},
    "adapters": [{"name": "ink", "digest": "b2" * 32, "strength": 0.8}],
    "embeddings": [{"name": "mossy", "digest": "b3" * 32, "vectors": 3}],
    "prompt": "a {red|blue} apple",
    "negative_prompt": "blurry",
    "styles": ["3d"],
    "expanded_prompt": "a blue apple, 3d",
    "expanded_negative_prompt": "blurry, flat",
    "composed": True,
    "left_out": ["<lora:ink:0.8>"],
    "seed": 42,
    "variation": {"seed": 7, "strength": 0.1},
    "width": 512,
    "height": 384,
    "steps": 20,
    "sampler": "DPM++ 2M",
    "schedule": "karras",
    "eta": 0.5,
    "guidance_scale": 7.5,
    "guidance_rescale": 0.1,
    "guidance_start": 0.1,
    "guidance_end": 0.9,
    "guidance_method": "cfg-zero",
    "pag_scale": 3.0,
    "pag_adaptive": 0.25,
    "image_guidance_scale": 2.0,
    "clip_skip": 2,
    "vae": "ae.safetensors",
    "text_encoders": ["t5xxl_fp16"],
    "quality": "fast",
    "step_cache": "deep",
    "step_cache_interval": 4,
    "step_cache_threshold": 0.2,
    "token_merging": 0.25,
    "region_method": "attention",
    "true_cfg_scale": 2.0,
    "seamless": "both",
    "noise_source": "gpu",
    "init_image": "c3" * 32,
    "mask": "d4" * 32,
    "strength": 0.6,
    "inpaint": {"blur": 5, "padding": 16, "only_masked": True, "fill": "noise", "invert": True, "soft": True},
    "outpaint": {"left": 64},
    "hires": {"scale": 1.5, "upscaler": "lanczos", "strength": 0.4, "steps": 9, "sampler": "Euler"},
    "hires_checkpoint": {"name": "other", "family": "sd2", "digest": "a3" * 32},
    "hires_adapters": [{"name": "oil", "digest": "b4" * 32}],
    "refiner": {"checkpoint": "other", "switch_at": 0.7},
    "refiner_checkpoint": {"name": "other", "family": "sd2", "digest": "a3" * 32},
    "upscaler": "e6" * 32,
    "control": [
        {
            "name": "control_canny",
            "digest": "f7" * 32,
            "kind": "canny",
            "image": "f8" * 32,
            "mask": "f9" * 32,
            "preprocessor": {"name": "canny", "parameters": {"low": 50}, "resolution": 512},
            "weight": 0.5,
            "start": 0.1,
            "end": 0.8,
            "mode": "guess",
            "resize": "fill",
        }
    ],
    "references": [{"image": "fb" * 32}],
    "regions": [{"prompt": "a {dog|cat}", "expanded_prompt": "a dog", "mask": "fa" * 32, "weight": 0.5}],
    "verdict": {"policy": "standard", "version": "1", "digest": "e5" * 32, "decision": "allow"},
    "file": {"kind": "webp", "quality": 90},
    "notes": ["mask resized"],
}
PLAIN = {
    key: BODY[key] for key in ("versions", "machine", "checkpoint", "prompt", "expanded_prompt", "seed")
} | {
    "mode": "text-to-image",
    **{key: BODY[key] for key in ("width", "height", "steps", "sampler", "guidance_scale")},
}
FULL = ReproductionRecord(**BODY)


def test_every_field_of_a_request_is_in_the_record():
    # Each image has its own record; ignored parts are in unsupported_parts.
    elsewhere = {"count", "ignore_unsupported"}
    assert set(GenerationRequest.model_fields) - elsewhere <= set(ReproductionRecord.model_fields)


def test_the_sample_of_these_tests_has_no_default_values():
    fields = ReproductionRecord.model_fields
    assert set(BODY) == set(fields) - {"format"}
    assert all(getattr(FULL, name) != fields[name].default for name in BODY)


def test_json_round_trip():
    text = FULL.to_json()
    assert "\n" not in text
    assert ReproductionRecord.parse(text) == FULL
    assert ReproductionRecord.parse(text).to_json() == text
    assert json.loads(text) == FULL.to_dict()
    assert json.loads(text)["format"] == 1


@given(prompt=st.text(max_size=80), scale=st.floats(0, 100), seed=st.integers(0, 2**63 - 1))
def test_any_text_and_number_round_trip_exactly(prompt, scale, seed):
    record = FULL.model_copy(update={"prompt": prompt, "guidance_scale": scale, "seed": seed})
    text = record.to_json()
    assert ReproductionRecord.parse(text) == record
    assert not set(text) & {"\0", "\ufffe", "\uffff", "\n", "\x1b"}


def test_it_has_no_time():
    assert not [
        name for name in FULL.to_json().split('"') if "time" in name or "date" in name or "created" in name
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("null", "cannot be read"),
        ("{" * 10_000, "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("\ud83d", "unicode"),
        (FULL.to_json().replace('"format":1', '"format":2'), "layout '2'; this Safelight reads layout 1"),
        (FULL.to_json().replace('"steps":20', '"steps":0'), "steps: Input should be greater"),
        (FULL.to_json().replace('"steps":20,', ""), "steps: Field required"),
        (FULL.to_json().replace('"steps":20', '"stepps":20'), "steps: Field required|stepps: Extra"),
        (FULL.to_json().replace('"guidance_scale":7.5', '"guidance_scale":NaN'), "guidance_scale"),
        (FULL.to_json().replace("a1" * 32, "A1" * 32), "checkpoint.digest"),
        (FULL.to_json()[:-9], "cannot be read"),
    ],
)
def test_an_invalid_record_is_an_error_with_a_reason(text, complaint):
    with pytest.raises(RecordInvalidError, match=complaint):
        ReproductionRecord.parse(text)


def test_the_request_of_a_record():
    red, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    masked = FULL.model_copy(update={"outpaint": None})  # outpainting makes its own mask
    pictures = {"f8" * 32: "shown", "fa" * 32: "masked"}
    request = masked.to_request(
        init_image=red, mask=mask, control=pictures, references={"fb" * 32: "looked at"}
    )
    assert (request.prompt, request.negative_prompt, request.styles) == (
        "a blue apple, 3d",
        "blurry, flat",
        (),
    )
    assert (request.checkpoint, request.count, request.mode) == ("starter", 1, Mode.INPAINT)
    assert request.init_image is red
    assert request.mask is mask
    same = set(GenerationRequest.model_fields) - {
        *("prompt", "negative_prompt", "styles", "checkpoint", "count", "init_image", "mask"),
        *("ignore_unsupported", "adapters", "control", "references", "regions"),
    }
    (region,) = request.regions
    assert (region.prompt, region.mask, region.weight) == ("a dog", "masked", 0.5)
    assert [each.image for each in request.references] == ["looked at"]
    (control,) = request.control
    assert (control.model, control.kind, control.weight, control.mode) == (
        "control_canny",
        "canny",
        0.5,
        "guess",
    )
    assert (control.image, control.mask) == ("shown", None)
    assert request.adapters == (Adapter(name="ink", strength=0.8),)
    assert {name: getattr(request, name) for name in same} == {name: getattr(masked, name) for name in same}


def test_textual_inversions_that_were_not_used_are_escaped():
    prompts = {"expanded_prompt": "embedding:mossy, embedding:x", "expanded_negative_prompt": r"\embedding:x"}
    request = FULL.model_copy(
        update=prompts
        | {"outpaint": None, "init_image": None, "mask": None, "strength": None}
        | {"control": (), "references": (), "regions": ()}
    )
    made = request.to_request()
    assert (made.prompt, made.negative_prompt) == (r"embedding:mossy, \embedding:x", r"\embedding:x")


def test_a_record_without_a_level_is_of_the_level_balanced():
    assert ReproductionRecord(**PLAIN).to_request().quality == "balanced"


def test_parts_that_an_older_version_read_literally_are_escaped():
    older = ReproductionRecord(**PLAIN | {"expanded_prompt": "a <lora:ink:1> cat AND \\AND"})
    assert older.to_request().prompt == "a \\<lora:ink:1> cat \\AND \\AND"


def test_newer_fields_are_omitted_where_they_are_empty():
    text = ReproductionRecord(**PLAIN).to_json()
    assert "left_out" not in text
    assert "embeddings" not in text
    assert "pag_adaptive" not in text


def test_a_text_to_image_request_needs_no_image():
    request = ReproductionRecord(**PLAIN).to_request()
    assert request.mode is Mode.TEXT
    assert request.inpaint == Inpaint()
    with pytest.raises(RequestError, match="initial picture"):
        FULL.model_copy(update={"references": (), "regions": ()}).to_request()
    with pytest.raises(RequestError, match="a region needs its mask"):
        FULL.model_copy(update={"references": ()}).to_request()


def test_no_difference_gives_no_text():
    assert differences(FULL, ReproductionRecord.parse(FULL.to_json())) == []


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        ({"steps": 30}, ["steps is 20 in the record and 30 here."]),
        ({"schedule": None}, ['schedule is "karras" in the record and not given here.']),
        ({"prompt": "a" * 100}, ["prompt differs."]),
        ({"mask": "d5" * 32}, ["mask is d4d4d4d4d4d4… in the record and d5d5d5d5d5d5… here."]),
        (
            {"versions": {**BODY["versions"], "torch": "2.15.0"}},
            ['versions.torch is "2.14.1" in the record and "2.15.0" here.'],
        ),
        (
            {"machine": {**BODY["machine"], "device": "cuda:0", "threads": 8}},
            [
                'machine.device is "cpu" in the record and "cuda:0" here.',
                "machine.threads is 2 in the record and 8 here.",
            ],
        ),
        (
            {"checkpoint": {**BODY["checkpoint"], "digest": "f6" * 32}},
            ["checkpoint.digest is a1a1a1a1a1a1… in the record and f6f6f6f6f6f6… here."],
        ),
    ],
)
def test_differences_as_text(change, sentences):
    assert differences(FULL, ReproductionRecord(**BODY | change)) == sentences


def test_missing_sections_are_reported():
    without = ReproductionRecord(**BODY | {"hires": None})
    told = differences(FULL, without)
    assert "hires.scale is 1.5 in the record and not given here." in told
    assert differences(without, FULL)[-1] == 'hires.sampler is not given in the record and "Euler" here.'


def test_digests_are_compared_in_full():
    near = "c3" * 31 + "00"
    assert differences(FULL, FULL.model_copy(update={"init_image": near})) != []


def test_a_pixel_digest_depends_on_shape_and_samples():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    same = np.asfortranarray(pixels)
    others = [pixels.reshape(4, 2, 3), pixels.reshape(2, 12), pixels + 1]
    digest = pixels_digest(pixels)
    assert pixels_digest(same) == digest
    assert len({digest, *map(pixels_digest, others)}) == 4
    assert digest == "4d7bfec0e68dba4203f90131e20c88b58dd390660b408cc6208ee561e1874fb0"


def test_reading_records_imports_no_torch():
    code = "import sys, safelight.generation.infotext; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
