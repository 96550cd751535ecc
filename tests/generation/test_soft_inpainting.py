from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.generation.conftest import SIDE, GenerateImages, same_pixels, to_array
from tests.generation.diffusers_reference import load_diffusers_pipeline, nearly_equal
from tests.tiny.generation import INIT_IMAGE, MASK

from safelight.errors import UnsupportedError
from safelight.generation.engine import Engine
from safelight.generation.request import GenerationRequest

Tiny = Callable[[str], Path]
STEPS = 6
GREYS = np.repeat(np.linspace(0, 255, 8).round(), SIDE // 8)
BANDS = Image.fromarray(np.tile(GREYS, (SIDE, 1)).astype(np.uint8))
"""Eight bands, one latent wide, from black to white."""
SOFT = {"soft": True, "blur": 0}
FIELDS: dict[str, Any] = {"init_image": INIT_IMAGE, "mask": BANDS, "inpaint": SOFT, "steps": STEPS}
BLENDING = ("sd1", "sdxl", "sd3", "flux", "chroma", "qwen-image", "flux2-klein", "z-image")
"""The families that inpaint by blending latents."""


def kept(strengths: torch.Tensor, step: int, steps: int) -> torch.Tensor:
    """Where the strength isn't reached before a step: Levin & Fried's mask of the picture that is kept."""
    return (1 - strengths) > step / steps


def sd1_by_hand(folder: Path, sampler: str, strength: float = 1.0) -> np.ndarray:
    """Differential diffusion written out for Stable Diffusion 1, with diffusers' networks and our solver."""
    pipe = load_diffusers_pipeline(folder, "StableDiffusionInpaintPipeline", sampler)
    scheduler, generator = pipe.scheduler, torch.Generator().manual_seed(7)
    scheduler.set_timesteps(STEPS)
    skipped = STEPS - int(STEPS * strength)
    timesteps = scheduler.timesteps[skipped * scheduler.order :]
    scheduler.set_begin_index(skipped * scheduler.order)
    strengths = torch.linspace(0, 255, 8).round().div(255)[None, None, None, :].expand(1, 1, 8, 8)
    with torch.no_grad():
        positive, negative = pipe.encode_prompt("a red cat", "cpu", 1, True, "")
        words = torch.cat([negative, positive])
        pixels = pipe.image_processor.preprocess(INIT_IMAGE)
        original = pipe.vae.encode(pixels).latent_dist.sample(generator) * pipe.vae.config.scaling_factor
        noise = torch.randn(original.shape, generator=generator)
        if strength == 1:
            latents = noise * scheduler.init_noise_sigma
        else:
            latents = scheduler.add_noise(original, noise, timesteps[:1])
        for call, timestep in enumerate(timesteps):
            rows = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            without, with_prompt = pipe.unet(rows, timestep, encoder_hidden_states=words)[0].chunk(2)
            latents = scheduler.step(without + 7.0 * (with_prompt - without), timestep, latents)[0]
            if call + 1 < len(timesteps):
                noised = scheduler.add_noise(original, noise, timesteps[call + 1 : call + 2])
                step = (call + 1) // scheduler.order
                latents = torch.where(kept(strengths, step, STEPS - skipped), noised, latents)
        latents = torch.where(strengths == 0, original, latents)
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor)[0]
    return as_picture(decoded)


def sd3_by_hand(folder: Path) -> np.ndarray:
    """The same for Stable Diffusion 3, whose solver works on flows."""
    pipe = load_diffusers_pipeline(folder, "StableDiffusion3InpaintPipeline", "Euler FlowMatch")
    scheduler, generator = pipe.scheduler, torch.Generator().manual_seed(7)
    scheduler.set_timesteps(STEPS)
    strengths = torch.linspace(0, 255, 8).round().div(255)[None, None, None, :].expand(1, 1, 8, 8)
    with torch.no_grad():
        encoded = pipe.encode_prompt("a red cat", None, None, negative_prompt="", device="cpu")
        positive, negative, pooled, negative_pooled = encoded
        words, pooled = torch.cat([negative, positive]), torch.cat([negative_pooled, pooled])
        config = pipe.vae.config
        encoded_image = pipe.vae.encode(pipe.image_processor.preprocess(INIT_IMAGE)).latent_dist
        original = (encoded_image.sample(generator) - config.shift_factor) * config.scaling_factor
        noise = torch.randn(original.shape, generator=generator)
        latents = noise
        for call, timestep in enumerate(scheduler.timesteps):
            without, with_prompt = pipe.transformer(
                hidden_states=torch.cat([latents] * 2),
                timestep=timestep.expand(2),
                encoder_hidden_states=words,
                pooled_projections=pooled,
            )[0].chunk(2)
            latents = scheduler.step(without + 7.0 * (with_prompt - without), timestep, latents)[0]
            if call + 1 < STEPS:
                sigma = scheduler.sigmas[call + 1]
                noised = sigma * noise + (1 - sigma) * original
                latents = torch.where(kept(strengths, call + 1, STEPS), noised, latents)
        latents = torch.where(strengths == 0, original, latents)
        decoded = pipe.vae.decode(latents / config.scaling_factor)[
            0
        ]  # without the shift, as the pipeline does
    return as_picture(decoded)


def as_picture(decoded: torch.Tensor) -> np.ndarray:
    pixels = (decoded[0] / 2 + 0.5).clamp(0, 1).movedim(0, -1).numpy()
    return (pixels * 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("sampler", "strength"), [("Euler", 1.0), ("DPM++ 2M Karras", 1.0), ("Heun", 1.0), ("Euler", 0.5)]
)
def test_it_is_differential_diffusion(
    sampler: str, strength: float, draw: GenerateImages, tiny: Tiny
) -> None:
    found = to_array(*draw(**FIELDS, sampler=sampler, strength=strength, guidance_scale=7.0))
    expected = sd1_by_hand(tiny("sd1"), sampler, strength)
    full = BANDS_OPAQUE if strength == 1 else np.asarray(BANDS) >= 86  # a strength of a step of three or more
    assert nearly_equal(found[full], expected[full])


BANDS_OPAQUE = np.asarray(BANDS) >= 43
"""Where the strength is that of a step of six or more: the result is composited opaquely."""


def test_it_is_differential_diffusion_on_flows(draw: GenerateImages, tiny: Tiny) -> None:
    found = to_array(*draw("sd3", **FIELDS, guidance_scale=7.0))
    assert nearly_equal(found[BANDS_OPAQUE], sd3_by_hand(tiny("sd3"))[BANDS_OPAQUE])


@pytest.mark.parametrize("name", BLENDING)
def test_black_and_white_are_as_without_it(name: str, draw: GenerateImages) -> None:
    fields = {"init_image": INIT_IMAGE, "mask": MASK}
    soft, usual = (draw(name, **fields, inpaint={"blur": 0, "soft": soft})[0] for soft in (True, False))
    assert same_pixels(soft, usual)


@pytest.mark.parametrize("name", ["sd1", "flux", "z-image"])
def test_black_stays_and_each_grey_counts(name: str, draw: GenerateImages) -> None:
    drawn = to_array(*draw(name, **FIELDS))
    before, black = np.asarray(INIT_IMAGE), np.asarray(BANDS) == 0
    assert np.array_equal(drawn[black], before[black])
    whiter = Image.fromarray(np.where(np.asarray(BANDS) == 109, 219, np.asarray(BANDS)).astype(np.uint8))
    other = to_array(*draw(name, **{**FIELDS, "mask": whiter}))
    assert not np.array_equal(drawn, other)


def test_a_masked_part_alone_and_outpainting(draw: GenerateImages) -> None:
    large = INIT_IMAGE.resize((96, 96))
    mask = Image.new("L", large.size)
    mask.paste(BANDS.resize((40, 40)), (30, 20))
    inpaint = {**SOFT, "only_masked": True, "padding": 8}
    part = draw(init_image=large, mask=mask, inpaint=inpaint, width=SIDE, height=SIDE)[0]
    black = np.asarray(mask) == 0
    assert np.array_equal(to_array(part)[black], np.asarray(large)[black])
    assert not np.array_equal(to_array(part), np.asarray(large))
    options = {"init_image": INIT_IMAGE, "outpaint": {"right": 32}}
    soft, usual = (draw(**options, inpaint={"soft": soft})[0] for soft in (True, False))
    assert soft.image.size == (96, SIDE)
    assert np.array_equal(to_array(soft)[:, :32], np.asarray(INIT_IMAGE)[:, :32])
    assert not same_pixels(soft, usual)


def test_networks_that_read_the_mask_refuse_it(draw: GenerateImages) -> None:
    with pytest.raises(UnsupportedError, match="reads the mask itself") as caught:
        draw("sd1-inpaint", **FIELDS)
    assert caught.value.field == "inpaint.soft"


def test_the_change_grows_with_the_grey(engine: Engine) -> None:
    """In eight bands of the starter, on average over a few seeds."""
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    picture = Image.fromarray(colours.repeat(8, 0).repeat(8, 1))
    mask = Image.fromarray(np.tile(np.repeat(np.linspace(0, 255, 8).round(), 16), (128, 1)).astype(np.uint8))
    request = GenerationRequest(
        prompt="a pizza",
        checkpoint="starter",
        init_image=picture,
        mask=mask,
        inpaint={"soft": True, "blur": 0},
        steps=12,
        seed=1,
        count=3,
    )
    changes = np.zeros(8)
    for drawn in engine.generate(request):
        distance = np.abs(to_array(drawn).astype(int) - np.asarray(picture)).mean((0, 2))
        changes += distance.reshape(8, 16).mean(1)
    assert changes[0] == 0
    assert (np.diff(changes) > 0).all(), changes
