"""The checkpoint that comes along: what its card says is so, and diffusers and every sampler can draw with it."""

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
from safelight.generation.samplers import SAMPLERS, Kind, Sampler
from safelight.models.checkpoints import STARTER_FOLDER, Checkpoint, resolve
from safelight.models.families import FAMILIES
from safelight.models.headers import read_header
from safelight.settings import Settings

Draw = Callable[..., Image.Image]
CARD = (STARTER_FOLDER / "README.md").read_text()
SIDE = 128


@pytest.fixture(scope="module")
def starter(home: Path) -> Checkpoint:
    return resolve("starter", home)


@pytest.fixture(scope="module")
def draw(home: Path) -> Draw:
    """One picture of the starter: three steps, seed 7, unless it is said otherwise."""
    engine = Engine(Settings(home=home, device="cpu", checkpoint="starter"))

    def one(**fields: Any) -> Image.Image:
        usual = {"prompt": "a red apple, 3d style", "seed": 7, "steps": 3}
        (drawn,) = engine.draw(GenerationRequest.parse(**(usual | fields)))
        return drawn.image

    return one


def spread(picture: Image.Image) -> float:
    return float(np.asarray(picture).std())


# The folder


def test_it_is_small_and_has_nothing_that_runs_when_it_is_read() -> None:
    files = [path for path in STARTER_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 64e6
    assert {path.suffix for path in files} <= {".md", ".json", ".txt", ".safetensors"}


def test_it_is_known_by_its_name(starter: Checkpoint) -> None:
    assert starter.family is FAMILIES["sd1-starter"]
    assert starter.path == STARTER_FOLDER
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
    (weights,) = (STARTER_FOLDER / part).glob("*.safetensors")
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
        STARTER_FOLDER, dtype=torch.float32, local_files_only=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    pixels = pipeline(
        "a red apple, 3d style", num_inference_steps=4, generator=generator, output_type="np", **STOCK[name]
    ).images[0]
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.isfinite(pixels).all()
    assert pixels.std() > 0.02


# With the engine

FIT = [s for s in SAMPLERS if Kind.DIFFUSION in s.kinds and "v_prediction" in s.predictions]


@pytest.mark.parametrize("sampler", FIT, ids=lambda sampler: sampler.name)
def test_every_sampler_that_fits_draws(sampler: Sampler, draw: Draw) -> None:
    picture = draw(sampler=sampler.name)
    assert picture.size == (SIDE, SIDE)
    assert spread(picture) > 5


def test_no_sampler_of_its_kind_is_left_out() -> None:
    assert [sampler.name for sampler in FIT] == [s.name for s in SAMPLERS if Kind.DIFFUSION in s.kinds]


def test_a_seed_is_the_same_bits_twice(draw: Draw) -> None:
    first, again, other = draw(seed=3), draw(seed=3), draw(seed=4)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def redness(picture: Image.Image) -> float:
    """Red less blue, over what is not background."""
    pixels = np.asarray(picture, dtype=float)
    thing = pixels.min(axis=-1) < 220
    return float((pixels[..., 0] - pixels[..., 2])[thing].mean()) if thing.any() else 0.0


def test_colours_follow_the_words(draw: Draw) -> None:
    """A mean over seeds, which holds at any state of the training that is worth shipping."""
    red, blue = (
        np.mean([redness(draw(prompt=f"a {word} apple, 3d style", seed=seed, steps=8)) for seed in range(3)])
        for word in ("red", "blue")
    )
    assert red > 20
    assert blue < red - 40


def test_words_make_the_picture(draw: Draw) -> None:
    prompts = ("a red apple, 3d style", "a blue car, 3d style", "a cat face, flat style")
    drawn = [np.asarray(draw(prompt=prompt, steps=8), dtype=float) for prompt in prompts]
    for one, other in combinations(drawn, 2):
        assert np.abs(one - other).mean() > 5
