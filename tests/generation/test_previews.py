from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler
from diffusers.configuration_utils import FrozenDict
from PIL import Image
from tests.tiny import components
from torch import nn

from safelight.generation.previews import (
    DenoiserPrediction,
    LatentToRGB,
    clean_latents,
    fit_latent_to_rgb,
    unpack_latents,
)
from safelight.generation.solvers.samplers import build_scheduler, resolve_sampler
from safelight.images import decode
from safelight.samples import sample_photographs


class DownscalingAutoencoder(nn.Module):
    """An autoencoder whose latents are the image itself, eight times smaller, in its own channel order."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = FrozenDict(config)

    def encode(self, pictures: torch.Tensor) -> Any:
        assert pictures.min() >= -1
        assert pictures.max() <= 1
        latents = nn.functional.avg_pool2d(pictures, 8).flip(1)
        latents = torch.cat([latents, -latents[:, :1]], 1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


CONFIGS: list[dict[str, Any]] = [
    {},
    {"scaling_factor": 0.5},
    {"scaling_factor": 0.5, "shift_factor": 0.25},
    {"latents_mean": [0.5, 0.0, -0.5, 1.0], "latents_std": [2.0, 1.0, 0.5, 3.0]},
    {"latents_mean": [0.5, 0.0, -0.5, 1.0], "latents_std": [2.0, 1.0, 0.5, 3.0], "scaling_factor": 0.5},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_preview_has_the_images_colours_whatever_the_latents_scale(config: dict[str, Any]) -> None:
    vae = DownscalingAutoencoder(**config)
    image = decode(sample_photographs()[1]).image.resize((256, 256))
    signed = torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float() / 127.5 - 1
    raw = vae.encode(signed).latent_dist.mode()
    mean = torch.tensor(config.get("latents_mean", [config.get("shift_factor", 0.0)] * 4)).view(4, 1, 1)
    deviation = torch.tensor(config.get("latents_std", [1.0] * 4)).view(4, 1, 1)
    latents = (raw - mean) * config.get("scaling_factor", 1.0) / deviation  # as diffusers' pipelines do it
    preview = fit_latent_to_rgb(vae).preview(latents)
    small = image.resize((32, 32), Image.Resampling.BOX)
    assert preview.size == (32, 32)
    assert np.abs(np.asarray(preview).astype(int) - np.asarray(small)).max() <= 2


@pytest.mark.parametrize("make", ["autoencoder", "qwen_autoencoder", "sana_autoencoder", "flux2_autoencoder"])
def test_every_kind_of_autoencoder_gets_a_map(make: str) -> None:
    colours = fit_latent_to_rgb(getattr(components, make)())
    assert colours.weight.shape == (4, 3)
    assert torch.isfinite(colours.weight).all()


def test_non_finite_latents_are_grey() -> None:
    colours = LatentToRGB(torch.ones(4, 3), torch.zeros(3))
    grey = np.asarray(colours.preview(torch.full((1, 4, 2, 2), math.nan)))
    assert set(grey.flatten()) <= {127, 128}


DDPM = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def add_noise(share: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 4, 8, 8, generator=generator)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM", "Heun"])
def test_a_perfect_prediction_gives_the_clean_latents(kind: str, sampler: str) -> None:
    scheduler = build_scheduler(resolve_sampler(sampler), DDPM | {"prediction_type": kind}, [1])
    scheduler.set_timesteps(10)
    clean, noise = add_noise()
    timestep = scheduler.timesteps[4]
    alpha = float(np.interp(float(timestep), range(1000), scheduler.alphas_cumprod.numpy()))
    seen = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise
    output = {
        "epsilon": noise,
        "v_prediction": alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean,
        "sample": clean,
    }[kind]
    found = clean_latents(scheduler, DenoiserPrediction(seen, seen, float(timestep), output))
    assert torch.allclose(found, clean, atol=1e-3)


def test_a_flow_prediction_gives_the_clean_latents() -> None:
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    scheduler = build_scheduler(resolve_sampler("Euler", prediction_process="flow"), flow, [1])
    scheduler.set_timesteps(10)
    clean, noise = add_noise()
    timestep = float(scheduler.timesteps[4])
    sample = (1 - timestep / 1000) * clean + timestep / 1000 * noise
    found = clean_latents(scheduler, DenoiserPrediction(sample, sample, timestep, noise - clean))
    assert torch.allclose(found, clean, atol=1e-5)


def test_edm_undoes_its_preconditioning() -> None:
    scheduler = EDMEulerScheduler(sigma_data=0.5)
    scheduler.set_timesteps(10)
    clean, noise = add_noise()
    sigma = scheduler.sigmas[4]
    sample = clean + sigma * noise
    scale = sigma * 0.5 / (sigma**2 + 0.25) ** 0.5
    output = (clean - 0.25 / (sigma**2 + 0.25) * sample) / scale
    timestep = scheduler.timesteps[4]
    seen = scheduler.scale_model_input(sample, timestep)
    found = clean_latents(scheduler, DenoiserPrediction(sample, seen, float(timestep), output))
    assert torch.allclose(found, clean, atol=1e-4)


def test_spatial_latents_are_kept_and_the_frame_axis_is_removed() -> None:
    latents = torch.zeros(1, 4, 8, 6)
    assert unpack_latents(latents, None, 48, 64) is latents
    assert unpack_latents(latents.unsqueeze(2), None, 48, 64).shape == (1, 4, 8, 6)
