"""Small pictures of a run on its way: a linear map from latents to colours, fitted to the checkpoint's own autoencoder.

A map of a few dozen numbers shows what is being drawn at hardly any cost. It is fitted by least squares on photographs
that ship with Safelight, so that it fits every autoencoder, also one nobody has published a map for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from safelight.images import decode
from safelight.samples import sample_photographs

FIT_SIZE = 256
"""Side of the photographs the map is fitted on, in pixels."""


@dataclass(frozen=True)
class LatentToRGB:
    """The map of one autoencoder.

    Args:
        weight: (channels, 3), from the denoiser's latents to colours in [0, 1].
        bias: (3,).
    """

    weight: Tensor
    bias: Tensor

    def preview(self, latents: Tensor) -> Image.Image:
        """A picture with one pixel for each latent position.

        Args:
            latents: (1, channels, rows, columns), as the denoiser sees them.
        """
        colours = latents[0].float().cpu().movedim(0, -1) @ self.weight + self.bias
        pixels = colours.nan_to_num(0.5).clamp(0, 1).mul(255).round().byte()
        return Image.fromarray(pixels.numpy())


def fit(vae: nn.Module) -> LatentToRGB:
    """Fit the map for an autoencoder of (n, 3, height, width) pictures in [-1, 1]."""
    with torch.no_grad():
        return _fitted(vae)


def _fitted(vae: nn.Module) -> LatentToRGB:
    photographs = [_square(decode(path).image) for path in sample_photographs()]
    pixels = torch.from_numpy(np.stack([np.asarray(photograph) for photograph in photographs]))
    parameter = next(vae.parameters())
    signed = (pixels.movedim(-1, 1).to(parameter) / 127.5) - 1
    latents = torch.cat([_latents_of(vae, picture[None]) for picture in signed]).float().cpu()
    colours = nn.functional.interpolate(pixels.movedim(-1, 1).float() / 255, latents.shape[-2:], mode="area")
    inputs = latents.movedim(1, -1).reshape(-1, latents.shape[1])
    with_one = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    solution = torch.linalg.lstsq(with_one, colours.movedim(1, -1).reshape(-1, 3)).solution
    return LatentToRGB(solution[:-1], solution[-1])


def _latents_of(vae: nn.Module, pictures: Tensor) -> Tensor:
    """Latents as the denoiser sees them, (n, channels, rows, columns)."""
    if getattr(vae.config, "temperal_downsample", None) is not None:  # the library's own spelling
        pictures = pictures.unsqueeze(2)
    encoded = vae.encode(pictures)
    if hasattr(encoded, "latent_dist"):
        latents = encoded.latent_dist.mode()
    else:  # the deterministic autoencoders name their only field differently
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    latents = latents.squeeze(2) if latents.ndim == 5 else latents
    shift, scale = getattr(vae.config, "shift_factor", None), getattr(vae.config, "scaling_factor", None)
    mean, deviation = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))
    if mean is None or deviation is None:
        return (latents - (shift or 0.0)) * (scale or 1.0)
    mean, deviation = (latents.new_tensor(values).flatten()[:, None, None] for values in (mean, deviation))
    return (latents - mean) * (scale or 1.0) / deviation


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    crop = (left, top, left + side, top + side)
    return image.resize((FIT_SIZE, FIT_SIZE), Image.Resampling.LANCZOS, box=crop)


@dataclass(frozen=True)
class Prediction:
    """What a sampler was told in its last step.

    Args:
        sample: The latents it moved from.
        seen: The same as the denoiser saw them: some samplers scale them.
        timestep: The sampler's own.
        output: The denoiser's prediction, guided.
    """

    sample: Tensor
    seen: Tensor
    timestep: float
    output: Tensor


def clean_latents(scheduler: Any, prediction: Prediction) -> Tensor:
    """What the denoiser takes the finished latents to be: much clearer than the noisy ones, early on.

    Args:
        scheduler: The run's.
        prediction: Its last step.
    """
    config, timestep = scheduler.config, prediction.timestep
    seen, output = prediction.seen.float(), prediction.output.float()
    if hasattr(scheduler, "precondition_outputs"):  # EDM's timesteps are a quarter of the levels' logarithms
        clean: Tensor = scheduler.precondition_outputs(
            prediction.sample.float(), output, math.exp(4 * timestep)
        )
        return clean
    kind = str(config.get("prediction_type", "flow_prediction"))
    if kind == "sample":
        return output
    if kind in ("epsilon", "v_prediction"):
        signal, spread = _signal_and_noise(scheduler.alphas_cumprod, timestep)
        if kind == "v_prediction":
            return signal * seen - spread * output
        return (seen - spread * output) / max(signal, 1e-3)
    return seen - timestep / config.num_train_timesteps * output


def spatial(latents: Tensor, pipeline: Any, width: int, height: int) -> Tensor:
    """Latents as (1, channels, rows, columns), unpacked where the pipeline packs them.

    Args:
        latents: As the pipeline keeps them.
        pipeline: It knows how it packed them.
        width: Of the picture, in pixels.
        height: Likewise.
    """
    if latents.ndim == 3 and hasattr(pipeline, "_unpack_latents"):
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    elif latents.ndim == 3:  # Flux.2: four neighbours in one patch, normalised
        side = 2 * pipeline.vae_scale_factor
        latents = latents.movedim(1, -1).unflatten(-1, (height // side, width // side))
        norm = pipeline.vae.bn
        deviation = (norm.running_var + pipeline.vae.config.batch_norm_eps).sqrt()
        latents = latents * deviation[:, None, None] + norm.running_mean[:, None, None]
        latents = pipeline._unpatchify_latents(latents)
    return latents.squeeze(2) if latents.ndim == 5 else latents


def _signal_and_noise(cumulative: Tensor, timestep: float) -> tuple[float, float]:
    """The shares of signal and noise at a timestep, which may lie between two that were trained."""
    last = len(cumulative) - 1
    below = min(max(int(timestep), 0), last)
    between = min(max(timestep - below, 0.0), 1.0)
    alpha = float(torch.lerp(cumulative[below], cumulative[min(below + 1, last)], between))
    return alpha**0.5, (1 - alpha) ** 0.5
