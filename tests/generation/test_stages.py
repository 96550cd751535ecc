"""Pictures that two checkpoints generate one after the other: a refiner, and a second pass of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline, nearly_equal
from tests.generation.lora_files import write_lora
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import NothingRunsError, RunStoppedError, SafelightError, UnsupportedError
from safelight.generation.engine import Engine
from safelight.generation.infotext import infotext_from_record, parse_infotext
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.record import Machine, ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.settings import Settings

Tiny = Callable[[str], Path]
MODES: dict[str, dict[str, Any]] = {
    "text": {},
    "image": {"init_image": INIT_IMAGE, "strength": 0.8},
    "inpainting": {"init_image": INIT_IMAGE, "mask": MASK, "inpaint": {"blur": 0}},
}
LANCZOS = {"scale": 1.5, "upscaler": "lanczos"}


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M Karras"])
def test_the_refiner_of_sdxl_equals_diffusers_two_pipelines(
    sampler: str, draw: GenerateImages, tiny: Tiny
) -> None:
    base = load_diffusers_pipeline(tiny("sdxl"), "StableDiffusionXLPipeline", sampler)
    refiner = load_diffusers_pipeline(tiny("sdxl-refiner"), "StableDiffusionXLImg2ImgPipeline", sampler)
    shared = {
        "prompt": "a red cat",
        "negative_prompt": "blue",
        "guidance_scale": 7.0,
        "num_inference_steps": 6,
    }
    shared["generator"] = torch.Generator().manual_seed(7)
    latents = base(**shared, width=SIDE, height=SIDE, denoising_end=0.6, output_type="latent").images
    expected = refiner(**shared, image=latents, denoising_start=0.6, output_type="np").images[0]
    (drawn,) = draw(
        "sdxl",
        sampler=sampler,
        steps=6,
        negative_prompt="blue",
        guidance_scale=7.0,
        refiner={"checkpoint": str(tiny("sdxl-refiner")), "switch_at": 0.6},
    )
    assert nearly_equal(to_array(drawn), (expected * 255).round().astype(np.uint8))
    assert drawn.record.refiner_checkpoint is not None
    assert drawn.record.refiner_checkpoint.family == "sdxl-refiner"
    assert len(drawn.record.machine.following) == 1


@pytest.mark.parametrize("sampler", ["Euler a", "Heun"])
@pytest.mark.parametrize("mode", MODES)
def test_a_refiner_that_is_the_same_checkpoint_changes_nothing(
    mode: str, sampler: str, draw: GenerateImages, tiny: Tiny
) -> None:
    usual = {"sampler": sampler, "steps": 8, "prompt": "a [red:blue:0.5] cat", **MODES[mode]}
    told: list[RunProgress] = []
    refiner = {"checkpoint": str(tiny("sd1")), "switch_at": 0.6}
    (drawn,) = draw("sd1", Watcher(told.append), refiner=refiner, **usual)
    assert same_pixels(drawn, *draw("sd1", **usual))
    count = told[-1].steps
    assert [each.step for each in told] == list(range(1, count + 1))
    assert {each.stage for each in told} == {"first pass", "refiner"}
    assert {each.steps for each in told} == {count}
    assert drawn.record.mode == GenerationRequest.parse(prompt="", **MODES[mode]).mode


def test_another_checkpoint_of_the_same_latents_refines(draw: GenerateImages, tiny: Tiny) -> None:
    refiner = {"checkpoint": str(tiny("sd2")), "switch_at": 0.5}
    (drawn,), plain = draw("sd1", steps=4, refiner=refiner), draw("sd1", steps=4)
    assert not same_pixels(drawn, *plain)
    again = drawn.record.to_request().model_copy(update={"checkpoint": str(tiny("sd1"))})
    assert again.refiner is not None
    body = again.model_dump(exclude_unset=True) | {"refiner": refiner}
    assert same_pixels(drawn, *draw("sd1", **body))


@pytest.mark.parametrize(
    ("name", "refiner", "steps", "error", "field"),
    [
        ("sd1", {"checkpoint": "sdxl"}, 4, UnsupportedError, "refiner.checkpoint"),
        ("sd3", {"checkpoint": "sd3"}, 4, UnsupportedError, "refiner.checkpoint"),
        ("sd1", {"checkpoint": "sd1", "switch_at": 1.0}, 4, NothingRunsError, "refiner.switch_at"),
        ("sd1", {"checkpoint": "sd1", "switch_at": 0.0}, 4, NothingRunsError, "refiner.switch_at"),
        ("sd1", {"checkpoint": "nowhere"}, 4, SafelightError, "refiner.checkpoint"),
    ],
)
def test_refiners_that_cannot_be(
    name: str,
    refiner: dict[str, Any],
    steps: int,
    error: type[SafelightError],
    field: str,
    draw: GenerateImages,
    tiny: Tiny,
) -> None:
    if refiner["checkpoint"] != "nowhere":
        refiner = refiner | {"checkpoint": str(tiny(refiner["checkpoint"]))}
    with pytest.raises(error) as caught:
        draw(name, steps=steps, refiner=refiner)
    assert caught.value.field == field


def in_two(draw: GenerateImages, name: str, second: str, **own: Any) -> tuple[Image.Image, Any]:
    """A first pass, and what starts from its picture, enlarged."""
    (first,) = draw(name)
    enlarged = first.image.resize((96, 96), Image.Resampling.LANCZOS)
    usual = {"init_image": enlarged, "strength": 0.6, "width": 96, "height": 96}
    (result,) = draw(second, **usual, **own)
    return first.image, result


def test_a_second_pass_with_its_own_prompts_and_guidance(draw: GenerateImages) -> None:
    own = {"prompt": "a blue dog", "negative_prompt": "red", "guidance_scale": 2.0}
    told: list[RunProgress] = []
    (drawn,) = draw(watcher=Watcher(told.append), hires=LANCZOS | own, guidance_scale=5.0)
    _, expected = in_two(
        lambda *args, **given: draw(*args, **({"guidance_scale": 5.0} | given)), "sd1", "sd1", **own
    )
    assert same_pixels(drawn, expected)
    assert [each.stage for each in told] == ["first pass"] * 3 + ["upscaling"] + ["second pass"]
    fractions = [each.fraction(hires=True) for each in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    record = drawn.record
    assert record.hires is not None
    assert (record.expanded_prompt, record.hires.prompt) == ("a red cat", "a blue dog")
    (again,) = draw(**record.to_request().model_dump(exclude={"checkpoint"}))
    assert same_pixels(drawn, again)
    assert again.record == record


@pytest.mark.parametrize(
    ("name", "second", "upscaler"),
    [
        ("sd1", "sd3", "lanczos"),
        ("sdxl", "sd1", "lanczos"),
        ("sd1", "sd2", "latent"),
        ("flux", "sd1", "lanczos"),
    ],
)
def test_a_second_pass_with_another_checkpoint(
    name: str, second: str, upscaler: str, draw: GenerateImages, tiny: Tiny
) -> None:
    hires = {"scale": 1.5, "upscaler": upscaler, "checkpoint": str(tiny(second))}
    (drawn,) = draw(name, hires=hires)
    assert drawn.image.size == (96, 96)
    assert drawn.record.hires_checkpoint is not None
    assert (drawn.record.checkpoint.family, drawn.record.hires_checkpoint.family) == (name, second)
    if upscaler == "lanczos":
        assert same_pixels(drawn, in_two(draw, name, second)[1])


def test_second_passes_that_cannot_be(draw: GenerateImages, tiny: Tiny) -> None:
    other = {"checkpoint": str(tiny("sd3"))}
    for hires, field in (
        ({"upscaler": "latent"} | other, "hires.upscaler"),
        (LANCZOS | other | {"sampler": "DDIM"}, "hires.sampler"),
        (LANCZOS | {"checkpoint": "nowhere"}, "hires.checkpoint"),
        (LANCZOS | {"checkpoint": str(tiny("flux2"))}, "hires.checkpoint"),
        (LANCZOS | {"prompt": "a <hypernet:x:1> cat"}, "hires.prompt"),
    ):
        with pytest.raises(SafelightError) as caught:
            pytest.fail(f"{draw(hires=hires)} {hires}")
        assert caught.value.field == field, hires
    with pytest.raises(UnsupportedError) as found:
        draw(hires=LANCZOS | {"prompt": "x"}, init_image=INIT_IMAGE)
    assert found.value.field == "hires"


def test_a_refiner_and_a_second_pass(draw: GenerateImages, tiny: Tiny) -> None:
    refiner = {"checkpoint": str(tiny("sd1")), "switch_at": 0.5}
    (drawn,) = draw(refiner=refiner, hires=LANCZOS, steps=4, sampler="Euler")
    (plain,) = draw(hires=LANCZOS | {"prompt": "a red cat"}, steps=4, sampler="Euler")
    assert same_pixels(drawn, plain)
    assert len(drawn.record.machine.following) == 2
    assert drawn.record.hires_checkpoint is None


def test_tags_of_the_second_prompt_are_its_adapters(
    draw: GenerateImages, drawing_home: Path, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    networks: dict[str, Any] = {name: in_memory("sd1").components[name] for name in ("unet", "text_encoder")}
    for name, seed in (("ink", 1), ("oil", 2)):
        write_lora(drawing_home / "loras" / f"{name}.safetensors", networks, seed=seed)
    hires = LANCZOS | {"prompt": "a red cat <lora:oil:0.8>"}
    (drawn,) = draw(prompt="a red cat <lora:ink:0.5>", hires=hires)
    record = drawn.record
    assert [each.name for each in record.adapters] == ["ink"]
    assert [each.name for each in record.hires_adapters] == ["oil"]
    assert 'Hires prompt: "a red cat <lora:oil:0.8>"' in infotext_from_record(record)
    (again,) = draw(**record.to_request().model_dump(exclude={"checkpoint"}))
    assert same_pixels(drawn, again)
    assert again.record.model_copy(update={"prompt": record.prompt}) == record
    (plain,) = draw(prompt="a red cat <lora:ink:0.5>", hires=LANCZOS | {"prompt": "a red cat"})
    assert not same_pixels(drawn, plain)


def test_a_picture_is_the_same_where_one_checkpoint_takes_the_place_of_the_other(
    draw: GenerateImages, tiny: Tiny, tmp_path: Path, in_memory: Callable[[str], LoadedCheckpoint]
) -> None:
    hires = LANCZOS | {"checkpoint": str(tiny("sd2"))}
    (usual,) = draw(hires=hires)
    sizes = [
        sum(component.nbytes for component in in_memory(name).networks.values()) for name in ("sd1", "sd2")
    ]
    budget = max(sizes) + min(sizes) // 2
    small = Engine(Settings(home=tmp_path, device="cpu", memory_budget=budget))
    most: list[int] = []
    watcher = Watcher(lambda _: most.append(small._pool.loaded_bytes))
    (drawn,) = small.generate(usual.record.to_request(), watcher)
    assert same_pixels(drawn, usual)
    assert max(most) <= budget < sum(sizes)


def test_it_stops_in_the_second_pass(draw: GenerateImages, tiny: Tiny) -> None:
    told: list[RunProgress] = []

    def stops() -> bool:
        return any(each.stage == "second pass" for each in told)

    hires = LANCZOS | {"checkpoint": str(tiny("sd2")), "steps": 6}
    (drawn,) = draw(watcher=Watcher(told.append, stops, keep_partial=True), hires=hires)
    assert drawn.stopped_at == 1
    assert drawn.image.size == (96, 96)
    assert "second pass" in drawn.record.notes[-1]
    told.clear()
    with pytest.raises(RunStoppedError):
        draw(watcher=Watcher(told.append, stops), hires=hires)


def test_what_later_stages_ran_on_is_in_the_record(draw: GenerateImages, tiny: Tiny) -> None:
    (drawn,) = draw(hires=LANCZOS | {"checkpoint": str(tiny("sd2"))})
    text = drawn.record.to_json()
    assert ReproductionRecord.parse(text) == drawn.record
    (machine,) = drawn.record.machine.following
    assert isinstance(machine, Machine)
    (plain,) = draw()
    body = plain.record.to_dict()
    assert not {"refiner", "refiner_checkpoint", "hires_checkpoint", "hires_adapters"} & body.keys()
    assert "following" not in body["machine"]
    assert {each.name for each in fields(type(drawn))} >= {"record"}


def test_infotexts_name_later_checkpoints(draw: GenerateImages, tiny: Tiny) -> None:
    hires = LANCZOS | {"checkpoint": str(tiny("sd2")), "guidance_scale": 3.0}
    refiner = {"checkpoint": str(tiny("sd1")), "switch_at": 0.5}
    (drawn,) = draw(hires=hires, refiner=refiner, steps=4)
    parameters = parse_infotext(infotext_from_record(drawn.record)).parameters
    ref = drawn.record.hires_checkpoint
    assert ref is not None
    assert parameters["Hires checkpoint"].endswith(f"[{ref.digest[:10]}]")
    assert parameters["Refiner"].endswith(f"[{drawn.record.checkpoint.digest[:10]}]")
    assert (parameters["Refiner switch at"], parameters["Hires CFG Scale"]) == ("0.5", "3")
