from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from safelight.errors import (
    BelowMinimumError,
    NothingRunsError,
    PromptError,
    PromptUnsupportedError,
    RequestError,
    SafelightError,
    SamplerIncompatibleError,
    SamplerUnknownError,
    StyleUnknownError,
    UnsupportedError,
)
from safelight.generation.plan import Plan, executed_steps, make_plan
from safelight.generation.request import GenerationRequest
from safelight.models.families import FAMILIES

PICTURE = Image.new("RGB", (130, 67))
MASKED = {"init_image": PICTURE, "mask": PICTURE}
DIFFUSION = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
TRIGFLOW = {"_class_name": "SCMScheduler", "prediction_type": "trigflow"}


def resolve_plan(name: str = "sd1", canvas: tuple[int, int] | None = None, **fields: Any) -> Plan:
    family = FAMILIES[name]
    request = GenerationRequest.parse(**({"prompt": "a cat"} | fields))
    scheduler = {"flow": FLOW, "trigflow": TRIGFLOW}.get(family.prediction_process, DIFFUSION)
    return make_plan(request, family, scheduler, native_side=512, canvas=canvas)


def test_unset_fields_take_the_familys_defaults() -> None:
    for name, family in FAMILIES.items():
        if "text-to-image" not in family.modes:
            continue
        found = resolve_plan(name)
        assert (found.steps, found.guidance_scale) == (family.steps, family.guidance_scale)
        assert (found.width, found.height) == (512, 512)
        assert found.sampler_choice.sampler.name == family.sampler
        assert found.strength is None
        assert found.notes == ()


def test_a_missing_seed_is_chosen_once() -> None:
    first, second = resolve_plan(), resolve_plan()
    assert 0 <= first.seed < 2**32
    assert first.seed != second.seed
    assert resolve_plan(seed=5).seed == 5


def test_an_explicit_sampler_does_not_inherit_the_familys_schedule() -> None:
    assert resolve_plan().sampler_choice.schedule == "karras"
    assert resolve_plan(sampler="Euler").sampler_choice.schedule == "automatic"
    assert resolve_plan(schedule="beta").sampler_choice.schedule == "beta"


@pytest.mark.parametrize(
    ("name", "side", "hint"),
    [
        ("sd1", 130, "Give 128 or 136."),
        ("sd3", 130, "Give 128 or 144."),
        ("sana", 33, "Give 32 or 64."),
        ("sana", 16, "Give 32 or 64."),
    ],
)
def test_an_unsupported_size_names_its_neighbours(name: str, side: int, hint: str) -> None:
    for which in ("width", "height"):
        with pytest.raises(RequestError, match=f"{which} {side} is no multiple") as caught:
            resolve_plan(name, **{which: side})
        assert caught.value.hint == hint


def test_the_size_is_that_of_the_canvas() -> None:
    image = resolve_plan(canvas=(130, 67), init_image=PICTURE)
    assert (image.width, image.height) == (128, 64)
    part = resolve_plan(canvas=(130, 67), init_image=PICTURE, width=256)
    assert (part.width, part.height) == (256, 64)
    tiny = resolve_plan("sana", canvas=(20, 500), init_image=None)
    assert (tiny.width, tiny.height) == (32, 512)


def test_a_masked_area_alone_uses_the_checkpoints_default_size() -> None:
    alone = {"init_image": PICTURE, "mask": PICTURE, "inpaint": {"only_masked": True}}
    found = resolve_plan(canvas=(4000, 3000), **alone)
    assert (found.width, found.height) == (512, 512)
    found = resolve_plan(canvas=(4000, 3000), **alone, width=64, height=32)
    assert (found.width, found.height) == (64, 32)


@pytest.mark.parametrize(
    ("side", "scale", "larger"), [(64, 2.0, 128), (64, 1.5, 96), (104, 1.5, 160), (88, 1.5, 136)]
)
def test_the_second_passes_size_is_rounded_to_the_familys_unit(side: int, scale: float, larger: int) -> None:
    found = resolve_plan(width=side, height=64, hires={"scale": scale})
    assert found.hires_size[0] == larger
    assert resolve_plan(width=side, height=64).hires_size == (side, 64)


@pytest.mark.parametrize("name", ["sd1", "sd3"])  # which round the strength's fraction differently
@given(st.integers(1, 60), st.floats(0.2, 1))
def test_a_second_pass_may_run_all_of_its_steps(name, steps, strength):
    family = FAMILIES[name]
    found = resolve_plan(name, hires={"steps": steps, "strength": strength, "all_steps": True})
    assert executed_steps(found.hires_steps, strength, family) == steps
    as_first = resolve_plan(name, steps=steps, hires={"strength": strength, "all_steps": True})
    assert as_first.hires_steps == found.hires_steps
    assert resolve_plan(name, hires={"steps": 60, "strength": strength}).hires_steps == 60


def test_more_steps_than_training_steps_are_refused_in_a_second_pass():
    with pytest.raises(SamplerIncompatibleError, match="2000 steps"):
        resolve_plan(hires={"steps": 20, "strength": 0.01, "all_steps": True})


def test_strength_has_a_default_for_each_mode() -> None:
    assert resolve_plan(canvas=(64, 64), init_image=PICTURE).strength == 0.75
    assert resolve_plan(canvas=(64, 64), init_image=PICTURE, mask=PICTURE).strength == 1.0
    assert resolve_plan(canvas=(64, 64), init_image=PICTURE, strength=0.2).strength == 0.2


@given(st.integers(1, 200), st.floats(0, 1))
@example(10, 0.7)
@example(3, 1 / 3)
def test_the_number_of_steps_equals_diffusers(steps: int, strength: float) -> None:
    sides = {"sd1": "StableDiffusionImg2ImgPipeline", "sd3": "StableDiffusion3Img2ImgPipeline"}
    for name, kind in sides.items():
        pipeline = object.__new__(getattr(diffusers, kind))
        scheduler = type("Steps", (), {"order": 1, "timesteps": list(range(steps))})()
        object.__setattr__(pipeline, "scheduler", scheduler)
        kept, _ = pipeline.get_timesteps(steps, strength, "cpu")
        assert executed_steps(steps, strength, FAMILIES[name]) == len(kept)
        assert executed_steps(steps, None, FAMILIES[name]) == steps


@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from(["sd1", "sd3"]))
def test_a_strength_too_low_for_one_step_gets_a_useful_hint(steps: int, strength: float, name: str) -> None:
    fields = {"init_image": PICTURE, "canvas": (64, 64), "steps": steps}
    if executed_steps(steps, strength, FAMILIES[name]):
        assert resolve_plan(name, strength=strength, **fields).strength == strength
        return
    with pytest.raises(RequestError, match="not one step runs") as caught:
        resolve_plan(name, strength=strength, **fields)
    better = float(caught.value.hint.split("to ")[1].split(" or")[0])
    assert better <= 1
    assert executed_steps(steps, resolve_plan(name, strength=better, **fields).strength, FAMILIES[name]) >= 1


REFUSED: list[tuple[str, dict[str, Any], type[SafelightError], str]] = [
    ("sd1", {"sampler": "Eulr"}, SamplerUnknownError, "no sampler 'Eulr'"),
    ("sd1", {"schedule": "carras"}, SamplerUnknownError, "no sigma schedule 'carras'"),
    ("sd1", {"sampler": "Euler FlowMatch"}, SamplerIncompatibleError, "does not fit"),
    ("sd3", {"sampler": "LMS"}, SamplerIncompatibleError, "does not fit"),
    ("sd1", {"sampler": "LCM", "steps": 51}, SamplerIncompatibleError, "cannot take 51 steps"),
    ("sd1", {"sampler": "Euler", "eta": 0.5}, SamplerIncompatibleError, "does not take eta"),
    ("sd1", {"hires": {"sampler": "Eulr"}}, SamplerUnknownError, "no sampler"),
    ("sd1", {"hires": {"strength": 0.01}}, NothingRunsError, "not one step"),
    ("sd1", {"guidance_method": "cfg-zero"}, UnsupportedError, "flow-matching"),
    ("flux", {"guidance_rescale": 0.5}, UnsupportedError, "Flux does not take guidance_rescale"),
    ("qwen-image", {"guidance_start": 0.1}, UnsupportedError, "guidance_start"),
    ("z-image", {"guidance_end": 0.9}, UnsupportedError, "guidance_end"),
    ("lumina2", {"guidance_method": "cfg-zero"}, UnsupportedError, "cfg-zero"),
    ("sd1", {"pag_scale": 1, "guidance_end": 0.9}, UnsupportedError, "cannot be combined"),
    ("flux", {"pag_scale": 1}, UnsupportedError, "no perturbed-attention"),
    ("flux", {"clip_skip": 2}, UnsupportedError, "clip_skip"),
    ("flux", {"variation": {"seed": 1, "strength": 0.1}}, UnsupportedError, "Variations"),
    ("flux", {"hires": {}}, UnsupportedError, "latents cannot be upscaled"),
    ("sana", {"hires": {"upscaler": "lanczos"}}, UnsupportedError, "no image-to-image"),
    ("pixart-alpha", {"steps": 1}, BelowMinimumError, "at least 2 steps"),
    ("pixart-sigma", {"init_image": PICTURE}, UnsupportedError, "no image-to-image"),
    ("sd1-inpaint", {}, UnsupportedError, "no text-to-image"),
    ("sd1", {"init_image": PICTURE, "hires": {}}, UnsupportedError, "for text-to-image"),
    ("sd1", {"init_image": PICTURE, "variation": {"seed": 1, "strength": 0.1}}, UnsupportedError, "Variat"),
]


@pytest.mark.parametrize(("name", "fields", "error", "message"), REFUSED)
def test_features_that_a_family_lacks_are_refused(
    name: str, fields: dict[str, Any], error: type[SafelightError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        resolve_plan(name, canvas=(64, 64) if "init_image" in fields else None, **fields)
    assert type(caught.value) is error
    assert caught.value.field


def test_the_second_passes_sampler_names_its_own_schedule() -> None:
    """A record has the first pass's schedule resolved: if it were inherited, the reproduced image would differ."""
    first = resolve_plan(hires={"sampler": "DDIM"})
    again = resolve_plan(hires={"sampler": "DDIM"}, sampler="DPM++ 2M", schedule="karras")
    assert first.sampler_choice == again.sampler_choice
    assert first.hires_sampler_choice == again.hires_sampler_choice
    assert first.hires_sampler_choice is not None
    assert first.hires_sampler_choice.schedule == "automatic"
    named = resolve_plan(hires={"sampler": "DDIM Karras"}).hires_sampler_choice
    assert named is not None
    assert named.schedule == "karras"
    assert (
        resolve_plan(hires={}, schedule="beta").hires_sampler_choice
        == resolve_plan(schedule="beta").sampler_choice
    )


def test_an_impossible_second_pass_is_refused_before_the_first() -> None:
    with pytest.raises(UnsupportedError, match="Sana has no image-to-image, which a second pass needs"):
        resolve_plan("sana", pag_scale=2, hires={})
    assert resolve_plan("kolors", pag_scale=2, hires={}).hires_steps > 0
    learnt = DIFFUSION | {"prediction_type": "sample"}
    request = GenerationRequest.parse(prompt="", sampler="DDIM", hires={"sampler": "DPM2"})
    with pytest.raises(
        SamplerIncompatibleError, match="DPM2 does not fit this checkpoint, which predicts sample"
    ):
        make_plan(request, FAMILIES["sd1"], learnt, native_side=512)


def test_eta_defaults_to_the_samplers_own() -> None:
    assert resolve_plan(sampler="DDIM").eta == 0.0
    assert resolve_plan(sampler="DDIM", eta=0.5).eta == 0.5
    assert resolve_plan(sampler="TCD", steps=4).eta == 0.3
    assert resolve_plan(sampler="Euler").eta is None


@pytest.mark.parametrize(
    ("name", "fields", "notes"),
    [
        (
            "flux-fill",
            {"negative_prompt": "x", **MASKED},
            ["Flux Fill has no negative prompt: it had no effect."],
        ),
        (
            "sd1",
            {"negative_prompt": "blue", "guidance_scale": 1},
            ["Without guidance (scale 1) the negative prompt has no effect."],
        ),
        ("flux-schnell", {"guidance_scale": 7}, ["Flux schnell takes no guidance: its scale had no effect."]),
        ("flux-schnell", {"guidance_scale": 1}, []),
        ("sd1", {"guidance_scale": 0.5}, ["A guidance scale below 1 counts as 1."]),
        ("flux", {"guidance_scale": 0.5}, []),
        ("sd1", {"negative_prompt": "blue"}, []),
        (
            "sd1",
            {"guidance_scale": 1, "guidance_end": 0.5},
            ["Without guidance (scale 1) guidance_end has no effect."],
        ),
        (
            "sd1",
            {"init_image": PICTURE, "inpaint": {"only_masked": True, "fill": "noise"}},
            ["Without a mask fill and only_masked had no effect."],
        ),
        ("sd1", {"inpaint": {"blur": 8}}, ["Without a mask blur had no effect."]),
        (
            "sd1",
            {"init_image": PICTURE, "outpaint": {"left": 8}, "inpaint": {"invert": True, "blur": 8}},
            ["With outpainting invert had no effect."],
        ),
        (
            "sd1",
            {"init_image": PICTURE, "mask": PICTURE, "inpaint": {"padding": 8, "fill": "blur"}},
            ["At strength 1 denoising starts from noise alone: fill had no effect."],
        ),
        (
            "sd1",
            {
                "init_image": PICTURE,
                "mask": PICTURE,
                "strength": 0.9,
                "inpaint": {"padding": 8, "fill": "blur", "only_masked": True},
            },
            [],
        ),
        ("sd1", {"pag_adaptive": 0.1}, ["Without pag_scale, pag_adaptive has no effect."]),
        ("sd1", {"pag_adaptive": 0.1, "pag_scale": 3}, []),
    ],
)
def test_fields_without_effect_are_noted(name: str, fields: dict[str, Any], notes: list[str]) -> None:
    assert list(resolve_plan(name, **fields).notes) == notes


def test_guidance_is_on_above_one_for_families_that_call_the_network_for_it() -> None:
    assert resolve_plan("sd1").guided
    assert resolve_plan("qwen-image").guided
    assert not resolve_plan("sd1", guidance_scale=1).guided
    assert not resolve_plan("flux").guided
    assert not resolve_plan("flux-schnell", guidance_scale=7).guided
    assert resolve_plan("flux", true_cfg_scale=1.5, guidance_scale=1).guided


def test_true_guidance_is_for_families_that_have_it() -> None:
    for name in ("sd1", "qwen-image", "flux-fill", "chroma"):
        with pytest.raises(UnsupportedError, match="takes no true_cfg_scale"):
            resolve_plan(name, true_cfg_scale=2, mask=PICTURE, init_image=PICTURE)
    note = "Flux reads a negative prompt with true_cfg_scale above 1 only: it had no effect."
    assert list(resolve_plan("flux", negative_prompt="blue").notes) == [note]
    assert list(resolve_plan("flux", negative_prompt="blue", true_cfg_scale=2).notes) == []


def test_each_image_expands_its_prompt_with_its_own_seed(tmp_path: Path) -> None:
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "c.txt").write_text("\n".join("abcdefghij"))
    batch = resolve_plan(prompt="__c__ {1|2|3|4}", negative_prompt="__c__", seed=3, count=4)
    words = [batch.prompts(index, tmp_path) for index in range(4)]
    assert len({each.prompt for each in words}) > 1
    for index, each in enumerate(words):
        alone = resolve_plan(prompt="__c__ {1|2|3|4}", negative_prompt="__c__", seed=3 + index)
        assert alone.prompts(0, tmp_path) == each


def test_prompts_that_expand_beyond_the_records_limit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "long.txt").write_text("x" * 6000)
    assert len(resolve_plan(prompt="__long__").prompts(0, tmp_path).prompt) == 6000
    with pytest.raises(PromptError, match="12001 characters"):
        resolve_plan(prompt="__long__ __long__").prompts(0, tmp_path)


def test_an_unknown_style_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StyleUnknownError):
        resolve_plan(styles=["noir"]).prompts(0, tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory whose wildcards and styles have networks."""
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "ink.txt").write_text("ink <net:ink:0.7>")
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "a.json").write_text(
        '{"name": "film", "prompt": "{prompt} AND film <hyper:film:1>"}'
    )
    return tmp_path


WORDS: list[dict[str, Any]] = [
    {"prompt": "a __ink__ cat"},
    {"prompt": "a cat", "negative_prompt": "__ink__"},
    {"prompt": "a cat", "styles": ["film"]},
    {"prompt": "a {<net|<net}:x:1> cat"},
]


@pytest.mark.parametrize("fields", WORDS)
def test_unsupported_parts_of_styles_and_choices_are_refused(fields: dict[str, Any], home: Path) -> None:
    with pytest.raises(PromptUnsupportedError, match="with its styles and choices filled in"):
        resolve_plan(**fields).prompts(0, home)


@pytest.mark.parametrize(
    "fields", [{"prompt": "a <net:x:1> cat"}, {"prompt": "", "negative_prompt": "a AND b"}]
)
def test_unsupported_parts_of_a_prompt_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(PromptUnsupportedError, match=r"^The (negative )?prompt has"):
        GenerationRequest.parse(**fields)


def test_unsupported_parts_may_be_removed_and_reported(home: Path) -> None:
    fields = {
        "prompt": "a __ink__ [cat:<net:x:1>:0.5]",
        "negative_prompt": "embedding:bad, blue",
        "styles": ["film"],
    }
    words = resolve_plan(**fields, ignore_unsupported=True).prompts(0, home)
    assert (words.prompt, words.negative_prompt) == ("a ink  [cat::0.5] AND film ", "embedding:bad, blue")
    assert words.left_out == ("<net:ink:0.7>", "<net:x:1>", "<hyper:film:1>")
    plain = resolve_plan(prompt="a cat", ignore_unsupported=True).prompts(0, home)
    assert (plain.prompt, plain.left_out) == ("a cat", ())


def test_adapters_of_the_request_of_styles_and_of_choices(home: Path) -> None:
    (home / "wildcards" / "ink.txt").write_text("ink <lora:ink:{0.7|0.9}>")
    (home / "styles" / "a.json").write_text('{"name": "film", "prompt": "{prompt}, film <lyco:film:1:0.5>"}')
    plan = resolve_plan(prompt="a __ink__ cat", styles=["film"], adapters=["oil:te=0:unet=1"], seed=7)
    words = plan.prompts(0, home)
    assert words.prompt == "a ink cat, film"
    assert [each.name for each in words.adapters] == ["oil", "ink", "film"]
    assert words.adapters[1].strength in (0.7, 0.9)
    assert (words.adapters[2].strength, words.adapters[2].denoiser) == (1, 0.5)


def test_adapters_of_a_negative_prompt_are_refused_or_left_out(home: Path) -> None:
    fields: dict[str, Any] = {"prompt": "a cat", "negative_prompt": "dog <lora:ink:1>"}
    with pytest.raises(PromptUnsupportedError, match="negative prompt"):
        resolve_plan(**fields)
    words = resolve_plan(**fields, ignore_unsupported=True).prompts(0, home)
    assert (words.negative_prompt, words.left_out, words.adapters) == ("dog ", ("<lora:ink:1>",), ())
