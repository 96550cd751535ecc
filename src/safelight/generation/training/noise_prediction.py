"""The loss of one training step: how well a U-Net predicts the noise that was added to latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from safelight.generation.training.encoded_examples import EncodedExamples


@dataclass(frozen=True)
class StepSample:
    """What one step trains on.

    Args:
        rows: The examples.
        flipped: Which of them are mirrored.
        dropped: Which captions are left out.
        timesteps: (n,) in [0, trained timesteps).
        noise: (n, channels, rows, columns).
    """

    rows: Sequence[int]
    flipped: Sequence[bool]
    dropped: Sequence[bool]
    timesteps: Tensor
    noise: Tensor


def sample_step(
    step: int, data: EncodedExamples, batch: int, *, seed: int, caption_dropout: float, timesteps: int
) -> StepSample:
    """Sample what a step trains on; it depends on the seed and the step's number alone.

    Each example occurs once before any occurs again.
    """
    count, views = data.latents.shape[:2]
    places = range(step * batch, (step + 1) * batch)
    rows = [_order(count, seed, place // count)[place % count] for place in places]
    generator = _generator(seed, step, 0)
    flipped = torch.randint(views, (batch,), generator=generator).bool().tolist()
    dropped = (torch.rand(batch, generator=generator) < caption_dropout).tolist()
    return StepSample(
        rows,
        flipped,
        dropped,
        torch.randint(timesteps, (batch,), generator=generator),
        torch.randn(batch, *data.latents.shape[2:], generator=generator),
    )


def prediction_loss(
    unet: Any, scheduler: DDPMScheduler, data: EncodedExamples, sample: StepSample, min_snr: float
) -> Tensor:
    """The mean squared error of a U-Net's prediction, weighted by timestep.

    Args:
        unet: A UNet2DConditionModel.
        scheduler: The checkpoint's noise schedule, with its kind of prediction: epsilon, v_prediction or sample.
        data: The examples.
        sample: What to train on.
        min_snr: Gamma of min-SNR weighting (Hang et al., 2023), by which timesteps with little noise, whose errors
            are easy to lower and hardly visible, weigh less; 0 weighs all alike.
    """
    clean = torch.stack(
        [data.latents[row, int(flip)] for row, flip in zip(sample.rows, sample.flipped, strict=True)]
    )
    noisy = scheduler.add_noise(clean, sample.noise, sample.timesteps)
    conditions = data.conditions(sample.rows, sample.dropped)
    output = unet(noisy.to(unet.dtype), sample.timesteps, **conditions, return_dict=False)[0].float()
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        target = sample.noise
    elif kind == "v_prediction":
        target = scheduler.get_velocity(clean, sample.noise, sample.timesteps)
    else:
        target = clean
    errors = (output - target).pow(2).mean((1, 2, 3))
    return (errors * _weights(scheduler, sample.timesteps, min_snr)).mean()


def _weights(scheduler: DDPMScheduler, timesteps: Tensor, gamma: float) -> Tensor:
    """min(SNR, gamma) as a weight of the clean latents' error, for the kind of prediction."""
    if not gamma:
        return torch.ones(len(timesteps))
    signal = scheduler.alphas_cumprod[timesteps]
    ratio = signal / (1 - signal)
    per_unit = {"epsilon": ratio, "v_prediction": ratio + 1, "sample": torch.ones_like(ratio)}
    # at zero terminal SNR the weight of epsilon is that of the limit, 1
    weights = ratio.clamp(max=gamma) / per_unit[scheduler.config.prediction_type]
    return torch.nan_to_num(weights, nan=1.0)


def _order(count: int, seed: int, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=_generator(seed, epoch, 1)).tolist()
    return order


def _generator(seed: int, number: int, purpose: int) -> torch.Generator:
    """A generator of its own for each seed, number and purpose."""
    return torch.Generator().manual_seed((seed * 2_000_003 + number) * 2 + purpose)
