from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline, nearly_equal
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import PromptError, PromptUnsupportedError, UnsupportedError

Tiny = Callable[[str], Path]
WHITE = Image.new("L", (SIDE, SIDE), 255)
PARTS = "a red cat AND a blue dog :0.5"
GUIDED: dict[str, Any] = {"guidance_scale": 5.0, "negative_prompt": "green", "sampler": "Euler"}


def by_hand(folder: Path, parts: list[tuple[str, float]], region: str = "") -> np.ndarray:
    """A1111's sum over the parts, written out with diffusers' networks; ``region`` has the right half."""
    pipe = load_diffusers_pipeline(folder, "StableDiffusionPipeline", "Euler")
    pipe.scheduler.set_timesteps(3)
    texts = [text for text, _ in parts] + ([region] if region else [])
    half = torch.cat([torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)], dim=3)
    with torch.no_grad():
        encoded = [pipe.encode_prompt(text, "cpu", 1, True, "green") for text in texts]
        words = [encoded[0][1], *(positive for positive, _ in encoded)]
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
        latents = latents * pipe.scheduler.init_noise_sigma
        for timestep in pipe.scheduler.timesteps:
            row = pipe.scheduler.scale_model_input(latents, timestep)
            rows: list[torch.Tensor] = []
            for first in range(0, len(words), 2):  # two rows at a time, as the pipeline's call has
                given = torch.cat(words[first : first + 2])
                rows += pipe.unet(row.repeat(len(given), 1, 1, 1), timestep, given)[0].split(1)
            negative, *predictions = rows
            prompt = negative
            for prediction, (_, weight) in zip(predictions, parts, strict=False):
                prompt = prompt + weight * (prediction - negative)
            if len(parts) == 1:
                prompt = predictions[0]
            if region:
                prompt = prompt * (1 - half) + half * predictions[-1]
            guided = negative + 5.0 * (prompt - negative)
            latents = pipe.scheduler.step(guided, timestep, latents)[0]
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor)[0]
    pixels = (decoded[0] / 2 + 0.5).clamp(0, 1).movedim(0, -1).numpy()
    return (pixels * 255).round().astype(np.uint8)


def test_parts_add_up_as_in_a1111(draw: GenerateImages, tiny: Tiny) -> None:
    expected = by_hand(tiny("sd1"), [("a red cat", 1.0), ("a blue dog", 0.5)])
    assert nearly_equal(to_array(*draw(prompt=PARTS, **GUIDED)), expected)


def test_a_region_has_its_own_prediction(draw: GenerateImages, tiny: Tiny) -> None:
    region = {"prompt": "a blue dog", "mask": MASK}
    expected = by_hand(tiny("sd1"), [("a red cat", 1.0)], "a blue dog")
    assert nearly_equal(to_array(*draw(regions=[region], **GUIDED)), expected)


LINEAR = ("sd1", "sdxl", "kolors", "sd3", "chroma", "z-image", "cogview4", "pixart-sigma")
"""Families whose pipelines combine both predictions without another change."""


@pytest.mark.parametrize("name", LINEAR)
def test_a_part_twice_is_twice_the_guidance(name: str, draw: GenerateImages) -> None:
    twice, stronger = (
        to_array(*draw(name, prompt=prompt, guidance_scale=scale, steps=2))
        for prompt, scale in (("a red cat AND a red cat", 2.0), ("a red cat", 4.0))
    )
    assert np.abs(twice.astype(int) - stronger).max() <= 2
    plain = to_array(*draw(name, guidance_scale=2.0, steps=2))
    assert not np.array_equal(twice, plain)


@pytest.mark.parametrize("name", ["qwen-image", "lumina2", "hunyuan-image", "krea2", "kandinsky5"])
def test_halves_of_the_same_part_are_the_part(name: str, draw: GenerateImages) -> None:
    halves, plain = (
        to_array(*draw(name, prompt=prompt, guidance_scale=3.0, steps=2))
        for prompt in ("a red cat :0.5 AND a red cat :0.5", "a red cat")
    )
    assert np.abs(halves.astype(int) - plain).max() <= 2


@pytest.mark.parametrize(
    "name",
    [
        *("sd1", "sdxl", "sd3", "flux", "flux2-klein", "qwen-image", "qwen-image-21", "z-image"),
        *("kandinsky5", "hidream", "hunyuan-image"),
    ],
)
def test_a_region_that_is_everywhere_takes_the_prompts_place(name: str, draw: GenerateImages) -> None:
    fields: dict[str, Any] = {"steps": 2, "negative_prompt": ""}
    region, plain = (
        to_array(*draw(name, **fields, prompt=prompt, regions=regions))
        for prompt, regions in (
            ("a red cat", [{"prompt": "two blue dogs in the snow", "mask": WHITE}]),
            ("two blue dogs in the snow", []),
        )
    )
    assert np.abs(region.astype(int) - plain).max() <= 2
    half = to_array(
        *draw(name, **fields, prompt="a red cat", regions=[{"prompt": "two blue dogs", "mask": MASK}])
    )
    assert not np.array_equal(half, plain)


def test_it_works_with_what_else_changes_guidance_and_with_other_modes(draw: GenerateImages) -> None:
    for fields in (
        {"guidance_rescale": 0.7},
        {"guidance_start": 0.3, "guidance_end": 0.8},
        {"prompt": "a [red:green:2] cat AND a blue (dog:1.4) :0.5"},
        {"prompt": PARTS + " " + "word " * 90},
        {"steps": 8, "step_cache": "deep"},
        {"steps": 8, "step_cache": "extrapolate"},
        {"init_image": INIT_IMAGE, "mask": MASK},
        {"hires": {"scale": 1.5, "upscaler": "lanczos"}},
        {"guidance_scale": 1.0},
    ):
        given = {"prompt": PARTS, **GUIDED, **fields}
        composed = draw(**given)[0]
        assert not same_pixels(composed, draw(**given | {"prompt": given["prompt"].split(" AND ")[0]})[0])


def test_step_caches_keep_the_parts_apart(draw: GenerateImages) -> None:
    """With a deep cache, equal parts stay as near to the plain prompt as they do without one."""
    fields: dict[str, Any] = {**GUIDED, "steps": 8, "step_cache": "deep"}
    halves, plain = (
        to_array(*draw(prompt=prompt, **fields))
        for prompt in ("a red cat :0.5 AND a red cat :0.5", "a red cat")
    )
    assert np.abs(halves.astype(int) - plain).max() <= 2


def test_pictures_at_once_are_those_alone(draw: GenerateImages) -> None:
    region = [{"prompt": "a blue dog", "mask": MASK}]
    asked: list[dict[str, Any]] = [
        {"prompt": PARTS},
        {"regions": region},
        {"regions": region, "region_method": "attention"},
        {"init_image": INIT_IMAGE, "mask": MASK, "inpaint": {"soft": True, "blur": 8}},
        {},
    ]
    alone = [to_array(*draw(**each)) for each in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda each: to_array(*draw(**each)), asked))
    for first, second in zip(alone, together, strict=True):
        assert np.abs(first.astype(int) - second).max() <= 2


def test_the_record_knows_it(draw: GenerateImages) -> None:
    record = draw(prompt=PARTS, **GUIDED)[0].record
    assert (record.composed, record.expanded_prompt) == (True, PARTS)
    assert record.to_request().prompt == PARTS
    old = record.model_copy(update={"composed": False})
    assert old.to_request().prompt == r"a red cat \AND a blue dog :0.5"
    assert not draw(prompt=r"a red cat \AND a blue dog")[0].record.composed


def test_what_it_does_not_go_with_is_refused(draw: GenerateImages) -> None:
    with pytest.raises(UnsupportedError, match="AND cannot be combined") as caught:
        draw(prompt=PARTS, pag_scale=3)
    assert caught.value.field == "prompt"
    with pytest.raises(UnsupportedError, match="Regions joined by predictions"):
        draw(pag_scale=3, regions=[{"prompt": "a", "mask": MASK}])
    with pytest.raises(PromptError, match="add up to nothing"):
        draw(prompt="a AND b :-1", guidance_scale=1.0)
    with pytest.raises(PromptUnsupportedError, match="classifier-free guidance"):
        draw("flux", prompt=PARTS)
    drawn = draw("flux", prompt=PARTS, ignore_unsupported=True)[0]
    assert (drawn.record.expanded_prompt, drawn.record.left_out) == ("a red cat, a blue dog", ("AND",))
    with pytest.raises(UnsupportedError, match="joins no regions by attention") as caught:
        draw("sd3", regions=[{"prompt": "a", "mask": MASK}], region_method="attention")
    assert caught.value.field == "region_method"
