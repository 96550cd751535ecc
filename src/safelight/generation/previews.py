"""Preview images of a running generation: a linear map from latents to RGB, fitted to the checkpoint's autoencoder.

The map has a few dozen numbers and costs hardly any time. It is fitted by least squares on photographs that ship with
Safelight, so it also works for autoencoders for which no map has been published.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from safelight.images import decode
from safelight.samples import sample_photographs

FIT_SIZE = 256
"""Side of the photographs used for fitting, in pixels."""


@dataclass(frozen=True)
class LatentToRGB:
    """The linear map of one autoencoder.

    Args:
        weight: (channels, 3), from the denoiser's latents to RGB in [0, 1].
        bias: (3,).
    """

    weight: Tensor
    bias: Tensor

    def preview(self, latents: Tensor) -> Image.Image:
        """Return an RGB image with one pixel per latent position.

        Args:
            latents: (1, channels, rows, columns), in the denoiser's scale.
        """
        colours = latents[0].float().cpu().movedim(0, -1) @ self.weight + self.bias
        pixels = colours.nan_to_num(0.5).clamp(0, 1).mul(255).round().byte()
        return Image.fromarray(pixels.numpy())


def fit_latent_to_rgb(vae: nn.Module) -> LatentToRGB:
    """Fit the map of an autoencoder that takes images (n, 3, height, width) in [-1, 1]."""
    with torch.no_grad():
        return _fit(vae)


def _fit(vae: nn.Module) -> LatentToRGB:
    photographs = [_centre_crop(decode(path).image) for path in sample_photographs()]
    pixels = torch.from_numpy(np.stack([np.asarray(photograph) for photograph in photographs]))
    latents = torch.cat([_encode_photograph(vae, each) for each in pixels.movedim(-1, 1)])
    colours = nn.functional.interpolate(pixels.movedim(-1, 1).float() / 255, latents.shape[-2:], mode="area")
    inputs = latents.movedim(1, -1).reshape(-1, latents.shape[1])
    with_one = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    solution = torch.linalg.lstsq(with_one, colours.movedim(1, -1).reshape(-1, 3)).solution
    return LatentToRGB(solution[:-1], solution[-1])


def _encode_photograph(vae: nn.Module, pixels: Tensor) -> Tensor:
    """The latents of RGB pixels (3, height, width), 0 to 255: (1, channels, rows, columns) on the CPU."""
    signed = pixels.to(vae.device, vae.dtype) / 127.5 - 1
    return _encode(vae, signed[None]).float().cpu()


def _encode(vae: nn.Module, images: Tensor) -> Tensor:
    """Encode images to latents in the denoiser's scale, (n, channels, rows, columns)."""
    if vae.config.get("in_channels") == 4:  # with transparency
        images = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)
    if getattr(vae.config, "temperal_downsample", None) is not None:  # diffusers' spelling
        images = images.unsqueeze(2)
    encoded = vae.encode(images)
    if hasattr(encoded, "latent_dist"):
        latents = encoded.latent_dist.mode()
    else:  # deterministic autoencoders: the name of the only field differs
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    latents = latents.squeeze(2) if latents.ndim == 5 else latents
    shift, scale = getattr(vae.config, "shift_factor", None), getattr(vae.config, "scaling_factor", None)
    mean, deviation = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))
    if mean is None or deviation is None:
        return (latents - (shift or 0.0)) * (scale or 1.0)
    mean, deviation = (latents.new_tensor(values).flatten()[:, None, None] for values in (mean, deviation))
    return (latents - mean) * (scale or 1.0) / deviation


def _centre_crop(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    crop = (left, top, left + side, top + side)
    return image.resize((FIT_SIZE, FIT_SIZE), Image.Resampling.LANCZOS, box=crop)


@dataclass(frozen=True)
class DenoiserPrediction:
    """The inputs of a scheduler's last step.

    Args:
        sample: The latents before the step.
        model_input: The same latents as passed to the denoiser; some schedulers scale them.
        timestep: The scheduler's timestep; a tensor stays where it is, since reading it waits for an accelerator.
        model_output: The denoiser's prediction after guidance.
    """

    sample: Tensor
    model_input: Tensor
    timestep: float | Tensor
    model_output: Tensor


def clean_latents(scheduler: Any, prediction: DenoiserPrediction) -> Tensor:
    """Return the denoiser's estimate of the clean latents, which is much clearer than the noisy ones in early steps.

    Args:
        scheduler: The scheduler of the run.
        prediction: The inputs of its last step.
    """
    config, timestep = scheduler.config, float(prediction.timestep)
    seen, output = prediction.model_input.float(), prediction.model_output.float()
    if hasattr(scheduler, "precondition_outputs"):  # EDM's timesteps are a quarter of the levels' logarithms
        clean: Tensor = scheduler.precondition_outputs(
            prediction.sample.float(), output, math.exp(4 * timestep)
        )
        return clean
    kind = str(config.get("prediction_type", "flow_prediction"))
    if kind == "sample":
        return output
    if kind == "trigflow":
        angle_clean: Tensor = math.cos(timestep) * seen - math.sin(timestep) * output
        return angle_clean / config.sigma_data
    if kind in ("epsilon", "v_prediction"):
        signal, spread = _signal_and_noise_scale(scheduler.alphas_cumprod, timestep)
        if kind == "v_prediction":
            return signal * seen - spread * output
        return (seen - spread * output) / max(signal, 1e-3)
    return seen - timestep / config.num_train_timesteps * output


def unpack_latents(latents: Tensor, pipeline: Any, width: int, height: int) -> Tensor:
    """Return latents as (1, channels, rows, columns), unpacked if the pipeline packs them.

    Args:
        latents: In the pipeline's layout.
        pipeline: The pipeline, which has the function to unpack them.
        width: Width of the image, in pixels.
        height: Height of the image, in pixels.
    """
    if latents.ndim == 3 and hasattr(pipeline, "_unpack_latents"):
        scale = (pipeline.vae_scale_factor,) if _takes_scale(pipeline._unpack_latents) else ()
        latents = pipeline._unpack_latents(latents, height, width, *scale)
    elif latents.ndim == 3:  # Flux.2: four neighbouring latents in one patch, normalized
        side = 2 * pipeline.vae_scale_factor
        latents = latents.movedim(1, -1).unflatten(-1, (height // side, width // side))
        latents = _unpatchify(latents, pipeline)
    elif _has_patches(latents, pipeline):  # ERNIE-Image
        latents = _unpatchify(latents, pipeline)
    elif latents.shape[1] == 1 and latents.ndim == 5:  # Kandinsky 5: the channels are last
        latents = latents[:, 0].movedim(-1, 1)
    return latents.squeeze(2) if latents.ndim == 5 else latents


def _has_patches(latents: Tensor, pipeline: Any) -> bool:
    """Whether the channels of latents are those of the patches that the autoencoder normalizes."""
    if latents.ndim != 4 or not hasattr(pipeline, "_unpatchify_latents"):
        return False
    width: int = pipeline.vae.bn.num_features
    return bool(latents.shape[1] == width)


def _unpatchify(latents: Tensor, pipeline: Any) -> Tensor:
    """Four neighbouring latents of each patch, in the autoencoder's scale."""
    norm = pipeline.vae.bn
    deviation = (norm.running_var + pipeline.vae.config.batch_norm_eps).sqrt()
    latents = latents * deviation[:, None, None] + norm.running_mean[:, None, None]
    unpatchified: Tensor = pipeline._unpatchify_latents(latents)
    return unpatchified


def _takes_scale(unpack: Callable[..., Tensor]) -> bool:
    """Whether a pipeline's function takes the autoencoder's scale, and does not know it."""
    return "vae_scale_factor" in inspect.signature(unpack).parameters


def _signal_and_noise_scale(cumulative: Tensor, timestep: float) -> tuple[float, float]:
    """Return the signal and noise factors at a timestep, which may lie between two trained ones."""
    last = len(cumulative) - 1
    below = min(max(int(timestep), 0), last)
    between = min(max(timestep - below, 0.0), 1.0)
    alpha = float(torch.lerp(cumulative[below], cumulative[min(below + 1, last)], between))
    return alpha**0.5, (1 - alpha) ** 0.5
