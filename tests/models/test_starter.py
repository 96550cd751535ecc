"""The built-in checkpoint: its card is true, and diffusers and every sampler can generate with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest
from safelight.generation.solvers.samplers import SAMPLERS, PredictionProcess, Sampler
from safelight.models.checkpoints.discovery import STARTER_PATH, Checkpoint, find_checkpoint
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.families import FAMILIES
from safelight.settings import Settings
from safelight.studio.starter_judge import StarterJudge, nearest

Draw = Callable[..., Image.Image]
CARD = (STARTER_PATH / "README.md").read_text()
SIDE = 128


@pytest.fixture(scope="module")
def starter(home: Path) -> Checkpoint:
    return find_checkpoint("starter", home)


@pytest.fixture(scope="module")
def draw(home: Path) -> Draw:
    """Generate one image with the starter: three steps, seed 7 by default."""
    engine = Engine(Settings(home=home, device="cpu", checkpoint="starter"))

    def one(**fields: Any) -> Image.Image:
        usual = {"prompt": "a red apple, 3d style", "seed": 7, "steps": 3}
        (drawn,) = engine.generate(GenerationRequest.parse(**(usual | fields)))
        return drawn.image

    return one


def spread(picture: Image.Image) -> float:
    return float(np.asarray(picture).std())


# The folder


def test_it_is_small_and_contains_no_code() -> None:
    files = [path for path in STARTER_PATH.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 64e6
    assert {path.suffix for path in files} <= {".md", ".json", ".txt", ".safetensors"}


def test_it_is_found_by_its_name(starter: Checkpoint) -> None:
    assert starter.family is FAMILIES["sd1-starter"]
    assert starter.path == STARTER_PATH
    shown = starter.to_dict()
    assert (shown["family"], shown["variant"], shown["precision"]) == ("sd1", "starter", "fp16")


def test_the_card_names_data_licences_and_limits() -> None:
    for name, licence in [
        ("Fluent Emoji 3D and Flat", "MIT"),
        ("Noto Emoji", "Apache-2.0"),
        ("Twemoji", "CC-BY-4.0"),
        ("emojibase-data", "MIT"),
    ]:
        assert re.search(rf"{name} \([^)]*\b{licence}\)", CARD), name
    assert "What it can't do" in CARD
    assert "unsafe pictures" in CARD


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_the_cards_sizes_are_those_of_the_weights(part: str) -> None:
    row = next(line for line in CARD.splitlines() if line.startswith(f"| {part} "))
    (weights,) = (STARTER_PATH / part).glob("*.safetensors")
    tensors = read_header(weights).tensors.values()
    numbers = sum(int(np.prod(tensor.shape)) for tensor in tensors)
    assert row.rstrip(" |").endswith(f" {numbers / 1e6:.1f} M")


# With diffusers alone

STOCK: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {"height": SIDE, "width": SIDE},
    "StableDiffusionImg2ImgPipeline": {"image": Image.new("RGB", (SIDE, SIDE), "red"), "strength": 0.7},
    "StableDiffusionInpaintPipeline": {
        "image": Image.new("RGB", (SIDE, SIDE), "red"),
        "mask_image": Image.new("L", (SIDE, SIDE), 255),
        "height": SIDE,
        "width": SIDE,
    },
}


@pytest.mark.parametrize("name", STOCK)
def test_stock_diffusers_draws_with_it(name: str) -> None:
    pipeline = getattr(diffusers, name).from_pretrained(
        STARTER_PATH, dtype=torch.float32, local_files_only=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    pixels = pipeline(
        "a red apple, 3d style", num_inference_steps=4, generator=generator, output_type="np", **STOCK[name]
    ).images[0]
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.isfinite(pixels).all()
    assert pixels.std() > 0.02


# Image quality

JUDGE = StarterJudge()
FARTHEST = 23.0
"""Grey levels, the mean over all generated images; it is at 19.9."""


def generate_captions(captions: list[str]) -> np.ndarray:
    """Generate an image for each caption with stock diffusers, six steps, caption i with seed i: uint8 [n, 128, 128,
    3]."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        STARTER_PATH, dtype=torch.float32, local_files_only=True, safety_checker=None
    )
    pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        captions,
        num_inference_steps=6,
        guidance_scale=4.0,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(captions))],
        output_type="np",
    ).images
    return (images * 255).round().astype(np.uint8)


def test_images_match_their_captions() -> None:
    """Check the card's scores with a small sample, against the real images of the training data.

    Things can be recognised long before a model generates well, so the measure is the distance of an image to the one
    that its caption describes. The weights before the last round of training fail this: see docs/starter.md.
    """
    score = JUDGE.score(generate_captions(JUDGE.captions))
    assert score.right_thing >= 30 / 32
    assert score.right_thing_and_style >= 26 / 32
    assert score.distance <= FARTHEST


def test_the_measure_distinguishes_things_and_styles() -> None:
    """Real images are nearest to themselves; noise is near to none."""
    references = JUDGE.references
    count, kinds = references.shape[:2]
    large = references.repeat(5, 2).repeat(5, 3).astype(np.uint8)
    apart = JUDGE.distances(large.reshape(-1, *large.shape[2:]))
    things, styles = nearest(apart)
    assert (things == np.repeat(np.arange(count), kinds)).all()
    assert (styles == np.tile(np.arange(kinds), count)).all()
    noise = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    apart = JUDGE.distances(noise)
    assert (nearest(apart)[0] == np.arange(count)).sum() < 10
    assert apart.min() > FARTHEST


# With the engine

FIT = [
    s
    for s in SAMPLERS.values()
    if PredictionProcess.DIFFUSION in s.prediction_processes and "v_prediction" in s.prediction_types
]


@pytest.mark.parametrize("sampler", FIT, ids=lambda sampler: sampler.name)
def test_every_compatible_sampler_runs(sampler: Sampler, draw: Draw) -> None:
    picture = draw(sampler=sampler.name, width=SIDE // 2, height=SIDE // 2)
    assert picture.size == (SIDE // 2, SIDE // 2)
    assert spread(picture) > 5


def test_every_diffusion_sampler_is_compatible() -> None:
    assert [sampler.name for sampler in FIT] == [
        s.name for s in SAMPLERS.values() if PredictionProcess.DIFFUSION in s.prediction_processes
    ]


def test_a_seed_gives_the_same_bits_twice(draw: Draw) -> None:
    """Without a size: in the checkpoint's own."""
    first, again, other = draw(seed=3), draw(seed=3), draw(seed=4)
    assert first.size == (SIDE, SIDE)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def mean_redness(picture: Image.Image) -> float:
    """Red minus blue, over the pixels that are not background."""
    pixels = np.asarray(picture, dtype=float)
    thing = pixels.min(axis=-1) < 220
    return float((pixels[..., 0] - pixels[..., 2])[thing].mean()) if thing.any() else 0.0


def test_colours_follow_the_prompt(draw: Draw) -> None:
    """A mean over seeds, which holds for any weights that are good enough to ship."""
    red, blue = (
        np.mean(
            [mean_redness(draw(prompt=f"a {word} apple, 3d style", seed=seed, steps=8)) for seed in range(3)]
        )
        for word in ("red", "blue")
    )
    assert red > 20
    assert blue < red - 40


def test_the_prompt_has_an_effect(draw: Draw) -> None:
    prompts = ("a red apple, 3d style", "a blue car, 3d style", "a cat face, flat style")
    drawn = [np.asarray(draw(prompt=prompt, steps=8), dtype=float) for prompt in prompts]
    for one, other in combinations(drawn, 2):
        assert np.abs(one - other).mean() > 5
