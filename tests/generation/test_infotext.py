"""The infotext: other programs read ours, and we read theirs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.hypothesis_profiles import example_count
from tests.other_programs import read_with_sd_parsers

from safelight.errors import RecordInvalidError
from safelight.generation.infotext import format_infotext, infotext_from_record, parse_infotext
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata, read_metadata

KINDS = ("png", "jpeg", "webp")
RECORD = ReproductionRecord(
    versions={"safelight": "0.2.0", "torch": "2", "diffusers": "0.42", "transformers": "5"},
    machine={"device": "cpu", "precision": "fp32", "backend": "eager", "threads": 2},
    mode="text-to-image",
    checkpoint={"name": "starter", "family": "sd1", "digest": "abcdef1234" + "0" * 54},
    prompt="a {red|blue} apple",
    expanded_prompt="a red apple",
    expanded_negative_prompt="blurry",
    seed=42,
    width=512,
    height=768,
    steps=20,
    sampler="DPM++ 2M",
    schedule="karras",
    guidance_scale=7.0,
)
LAST = (
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
    "Model hash: abcdef1234, Model: starter"
)
NASTY = [
    "a red apple",
    "",
    "two\nlines",
    "Steps: 3",
    "Steps: 3, Sampler: Euler, CFG scale: 1, Seed: 9, Size: 8x8",
    "Steps: 3, Sampler: Euler, CFG scale: 1, Seed: 9, Size: 8x8\nand more",
    'commas, colons: "quotes", \\(brackets\\), (weights:1.3), [a|b], <lora:x:0.5>',
    "猫 🐈‍⬛, café, ß, עברית",
    "Template: none\nNegative template: none",
    "{} {json: 'x'} %s \\n \\\\",
    "very long, " * 1800,
]


def make_infotext(**change: object) -> ReproductionRecord:
    return ReproductionRecord.model_validate(RECORD.to_dict() | change)


def read_by_others(text: str, kind: str):
    """What sd-parsers reads in an image with an infotext."""
    return read_with_sd_parsers(encode_image(Image.new("RGB", (8, 8)), kind, Metadata(text)))


def test_the_layout_is_a1111s():
    assert (
        infotext_from_record(RECORD)
        == f"a red apple\nNegative prompt: blurry\n{LAST}, Version: Safelight 0.2.0"
    )


def test_empty_lines_are_left_out():
    assert (
        infotext_from_record(make_infotext(expanded_negative_prompt=""))
        .split("\n")[1]
        .startswith("Steps: 20")
    )
    assert infotext_from_record(make_infotext(expanded_prompt="")).startswith(
        "Negative prompt: blurry\nSteps"
    )
    assert infotext_from_record(make_infotext(expanded_prompt="", expanded_negative_prompt="")).startswith(
        "Steps"
    )
    assert "Schedule type" not in infotext_from_record(make_infotext(schedule=None))


def test_other_keys_and_their_order():
    text = infotext_from_record(
        make_infotext(
            mode="inpainting",
            adapters=[
                {"name": name, "digest": digit * 64, "strength": 1}
                for name, digit in (("ink", "1"), ("oil", "2"))
            ],
            variation={"seed": 7, "strength": 0.15},
            strength=0.6,
            clip_skip=2,
            eta=0.5,
            guidance_scale=7.25,
            guidance_rescale=0.7,
            guidance_start=0.1,
            guidance_end=0.8,
            guidance_method="cfg-zero",
            pag_scale=3,
            pag_adaptive=0.25,
            left_out=["<lora:a, b:1>", "AND"],
            inpaint={"blur": 5, "padding": 16, "only_masked": True, "fill": "noise", "invert": True},
            outpaint={"left": 64, "bottom": 8},
            hires={"scale": 1.5, "upscaler": "lanczos", "strength": 0.4, "steps": 9, "sampler": "Euler"},
        )
    )
    assert text.split("\n")[-1] == (
        LAST.replace("CFG scale: 7,", "CFG scale: 7.25,")
        + ", Variation seed: 7, Variation seed strength: 0.15, Denoising strength: 0.6, Clip skip: 2, Eta: 0.5, "
        "Mask mode: Inpaint not masked, Mask blur: 5, Inpaint area: Only masked, Masked area padding: 16, "
        "Masked content: latent noise, Hires sampler: Euler, Hires upscale: 1.5, Hires steps: 9, "
        "Hires upscaler: lanczos, Hires strength: 0.4, CFG rescale: 0.7, CFG start: 0.1, CFG end: 0.8, "
        "CFG method: cfg-zero, PAG scale: 3, PAG adaptive: 0.25, Outpaint: left 64 bottom 8, "
        'Lora hashes: "ink: 111111111111, oil: 222222222222", Left out: "<lora:a, b:1> AND", Version: Safelight 0.2.0'
    )


def test_a_single_strength_has_a1111s_key():
    text = infotext_from_record(make_infotext(hires={"strength": 0.4}))
    assert "Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: latent, Version" in text
    fields = parse_infotext(text).request_fields()
    assert fields["hires"] == {"strength": 0.4, "scale": 2.0, "upscaler": "latent"}
    assert "strength" not in fields


def test_how_the_second_pass_counts_its_steps_is_in_the_infotext():
    text = infotext_from_record(make_infotext(hires={"steps": 9, "all_steps": True}))
    assert "Hires steps: 9, Hires all steps: True, " in text
    assert parse_infotext(text).request_fields()["hires"] == {
        "scale": 2.0,
        "upscaler": "latent",
        "strength": 0.6,
        "steps": 9,
        "all_steps": True,
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", NASTY)
@pytest.mark.parametrize("negative", ["", "blurry, bad: hands\nSteps: 4, ugly"])
def test_sd_parsers_reads_our_files(kind, prompt, negative):
    text = infotext_from_record(make_infotext(expanded_prompt=prompt, expanded_negative_prompt=negative))
    (sampler,) = read_by_others(text, kind).samplers
    assert [each.value for each in sampler.prompts] == ([prompt.strip()] if prompt else [])
    assert [each.value for each in sampler.negative_prompts] == ([negative] if negative else [])
    assert sampler.name == "DPM++ 2M"
    wanted = {"scheduler": "Karras", "seed": "42", "steps": "20", "cfg_scale": "7"}
    assert sampler.parameters == wanted
    assert (sampler.model.name, sampler.model.hash) == ("starter", "abcdef1234")


def test_simple_parsers_read_names_and_quoted_values():
    record = make_infotext(
        checkpoint={"name": "a, Seed: 9\nb", "family": "sd1", "digest": "abcdef1234" + "0" * 54},
        adapters=[
            {"name": "ink", "digest": "1" * 64, "strength": 1},
            {"name": "oil", "digest": "2" * 64, "strength": 1},
        ],
    )
    (sampler,) = read_by_others(infotext_from_record(record), "png").samplers
    assert sampler.parameters["seed"] == "42"
    assert sampler.model.name == "a Seed 9b"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", [*NASTY, 'say "Negative prompt: x" aloud'])
def test_our_files_round_trip(kind, prompt):
    record = make_infotext(expanded_prompt=prompt)
    data = encode_image(
        Image.new("RGB", (8, 8)), kind, Metadata(infotext_from_record(record), record.to_json())
    )
    found = read_metadata(data)
    assert ReproductionRecord.parse(found.record) == record
    read = parse_infotext(found.infotext)
    assert (read.prompt, read.negative_prompt) == (prompt, "blurry")
    assert (read.model, read.model_hash) == ("starter", "abcdef1234")


def unambiguous(prompt: str) -> bool:
    return not any(line.startswith("Negative prompt:") for line in prompt.split("\n"))


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.lists(
    st.sampled_from([*NASTY[:-1], "\n", ", ", ": ", '"', "\\", "Negative prompt: ", "\r\n", " "]), max_size=5
).map("".join)


@given(prompt=words.filter(unambiguous), negative=words)
@settings(max_examples=example_count(300))
def test_any_prompts_round_trip(prompt, negative):
    read = parse_infotext(
        infotext_from_record(make_infotext(expanded_prompt=prompt, expanded_negative_prompt=negative))
    )
    assert (read.prompt, read.negative_prompt) == (prompt, negative)
    assert read.parameters["Steps"] == "20"


@given(st.dictionaries(st.text("abcXYZ 0-/_", min_size=1, max_size=9), words.filter(bool), max_size=6))
def test_any_values_round_trip(values):
    values = {f"k{key.strip()}": value for key, value in values.items()}
    wanted = {"Steps": "1", "Seed": "2", "Model": "m"} | values
    assert dict(parse_infotext(format_infotext("p", "", wanted)).parameters) == wanted


def test_a_prompt_line_that_begins_as_a_negative_prompt_is_ambiguous_so_the_record_decides():
    record = make_infotext(expanded_prompt="a\nNegative prompt: b", expanded_negative_prompt="c")
    read = parse_infotext(infotext_from_record(record))
    assert (read.prompt, read.negative_prompt) == ("a", "b\nNegative prompt: c")
    assert ReproductionRecord.parse(record.to_json()).expanded_prompt == "a\nNegative prompt: b"


def test_null_characters_become_the_replacement_character():
    assert parse_infotext(infotext_from_record(make_infotext(expanded_prompt="a\0b"))).prompt == "a\ufffdb"


def test_our_own_text_becomes_a_request_again():
    record = make_infotext(
        variation={"seed": 7, "strength": 0.15},
        strength=0.6,
        clip_skip=2,
        eta=0.5,
        pag_scale=3,
        guidance_scale=7.25,
        guidance_rescale=0.7,
        guidance_end=0.8,
        schedule="sgm-uniform",
        hires={"scale": 1.5, "upscaler": "lanczos", "strength": 0.4, "steps": 9, "sampler": "Euler"},
    )
    fields = parse_infotext(infotext_from_record(record)).request_fields()
    request = GenerationRequest.parse(**fields, init_image=b"x")
    for name in set(fields) - {"prompt", "negative_prompt", "noise_source"}:
        assert getattr(request, name) == getattr(record, name), name
    assert request.noise_source == "cpu", "as all records without a noise source"
    assert request.schedule == "sgm-uniform"
    assert request.prompt == "a red apple"


AUTOMATIC = """\
masterpiece, (cat:1.2) <lora:ink:1>
second line
Negative prompt: lowres, text
error
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 965400086, Size: 512x640, Model hash: 45dee52b, \
Model: deliberate_v2, VAE hash: 735e4c3a44, VAE: vae-ft-mse.safetensors, Denoising strength: 0.45, Clip skip: 2, \
ENSD: 31337, Hires upscale: 1.8, Hires steps: 12, Hires upscaler: 4x-UltraSharp, \
Lora hashes: "ink: aabbccddeeff, oil: 112233445566", TI hashes: "easynegative: c74b4e810b03", \
ControlNet 0: "Module: canny, Model: control_canny [e3fe7712], Weight: 1, Resize Mode: Crop and Resize", \
Version: v1.8.0, Hashes: {"vae": "735e4c3a44", "model": "45dee52b"}"""
SDNEXT = """\
a cat, photo
Negative prompt:\x20
Template: a {cat|dog}
Negative template: none
Steps: 4, Size: 256x256, Sampler: Euler a, Scheduler: EulerAncestralDiscreteScheduler, Seed: 42, CFG scale: 7.0, \
CFG rescale: 0.0, CLiP-skip: 2, App: SD.Next, Version: 058a7f0, Pipeline: StableDiffusionPipeline, \
Operations: txt2img, Model: tiny-sd15, Variation seed: 3, Variation strength: 0.2"""
FORGE = """\
a cat
Steps: 20, Sampler: Euler, Schedule type: Beta, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 7, Size: 896x1152, \
Model hash: d9b5d2777c, Model: flux1-dev, Beta schedule alpha: 0.6, Version: f2.0.1v1.10.1, \
Module 1: ae, Module 2: clip_l"""


def test_a1111s_text():
    read = parse_infotext(AUTOMATIC)
    assert read.prompt == "masterpiece, (cat:1.2) <lora:ink:1>\nsecond line"
    assert read.negative_prompt == "lowres, text\nerror"
    assert (read.model, read.model_hash) == ("deliberate_v2", "45dee52b")
    assert read.parameters["Lora hashes"] == "ink: aabbccddeeff, oil: 112233445566"
    assert read.parameters["ControlNet 0"].startswith("Module: canny, Model: control_canny [e3fe7712]")
    assert read.parameters["Hashes"] == '{"vae": "735e4c3a44", "model": "45dee52b"}'
    fields = read.request_fields()
    assert (fields["sampler"], fields["schedule"], fields["width"], fields["height"]) == (
        *("DPM++ 2M", "karras"),
        *(512, 640),
    )
    hires = {"scale": 1.8, "steps": 12, "upscaler": "4x-UltraSharp", "strength": 0.45}
    assert fields["hires"] == hires | {"all_steps": True}
    assert fields["clip_skip"] == 2
    assert GenerationRequest.parse(**fields, ignore_unsupported=True).steps == 28


def test_sdnexts_text():
    read = parse_infotext(SDNEXT)
    assert (read.prompt, read.negative_prompt) == ("a cat, photo", "")
    assert read.parameters["Template"] == "a {cat|dog}"
    assert read.parameters["Negative template"] == "none"
    request = GenerationRequest.parse(**read.request_fields())
    assert (request.sampler, request.schedule, request.clip_skip) == ("Euler a", None, 2)
    assert (request.variation.seed, request.variation.strength) == (3, 0.2)


def test_forges_text():
    read = parse_infotext(FORGE)
    assert read.negative_prompt == ""
    assert read.parameters["Module 2"] == "clip_l"
    fields = read.request_fields()
    assert (fields["sampler"], fields["schedule"], fields["guidance_scale"]) == ("Euler", "beta", 1.0)


def test_prompt_lines_are_templates_only_for_sdnext():
    assert parse_infotext(f"a\nTemplate: b\n{LAST}").prompt == "a\nTemplate: b"


@pytest.mark.parametrize(
    ("label", "schedule"),
    [
        ("Karras", "karras"),
        ("SGM Uniform", "sgm-uniform"),
        ("Align Your Steps", "align-your-steps"),
        ("Automatic", None),
    ],
)
def test_labels_of_schedules(label, schedule):
    fields = parse_infotext(f"a\n{LAST.replace('Karras', label)}").request_fields()
    assert fields.get("schedule") == schedule
    if schedule:
        assert f"Schedule type: {label}," in infotext_from_record(make_infotext(schedule=schedule))


@pytest.mark.parametrize(
    "text", ["", "\n", "just a prompt", "a: b, c: d, e: f", "Steps: 20", "x" * 200_000, "Nice day\n\nat sea"]
)
def test_text_without_parameters_is_a_prompt(text):
    read = parse_infotext(text)
    assert (read.prompt, dict(read.parameters), read.request_fields()) == (
        *(text, {}),
        {"prompt": text, "negative_prompt": ""},
    )


def test_invalid_numbers_are_an_error_with_their_name():
    with pytest.raises(RecordInvalidError, match="Steps: 'many' is no whole number"):
        parse_infotext(f"a\n{LAST.replace('20', 'many')}").request_fields()


def test_to_dict_has_a1111s_keys():
    assert list(parse_infotext(AUTOMATIC).to_dict())[:4] == ["Prompt", "Negative prompt", "Steps", "Sampler"]


@given(st.text(st.sampled_from('aS:, "\\{}[]\n0') | st.characters(), max_size=200))
def test_any_text_has_a_result(text):
    parse_infotext(text)
    parse_infotext(f"{text}\n{LAST}, {text}")


@pytest.mark.parametrize(
    "piece", ['a: "', "a: {", "a: [", '\\"', ", ", "a:", 'x: "\\", ', 'x: {"q, ', "a: [[", " "]
)
def test_hostile_last_lines_are_fast(piece):
    began = time.thread_time()
    parse_infotext("a\n" + piece * (65_000 // len(piece)))
    parse_infotext(f"a\n{LAST}, {piece * 10_000}")
    assert time.thread_time() - began < 1


@pytest.mark.parametrize("line", ["a" + " " * 65_000 + "x", "a\t" * 32_000, " " * 65_000 + ":"])
def test_a_last_line_of_spaces_is_fast(line):
    began = time.thread_time()
    assert parse_infotext(f"a\n{line}").prompt == f"a\n{line}"
    assert parse_infotext(f"a\n{LAST}, b {line[-30_000:]}").parameters["Seed"] == "42"
    assert time.thread_time() - began < 0.5


def test_spaces_around_a_key_are_stripped():
    assert parse_infotext(f"a\n{LAST},  odd key  :  1").parameters["odd key"] == "1"
