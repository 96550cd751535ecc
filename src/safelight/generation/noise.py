"""The initial noise of an image: a random generator for its seed, and the variation seed's noise mixed in."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from safelight.generation.request import Variation


def make_generator(seed: int) -> Generator:
    """Return a generator on the CPU, so that a seed gives the same noise on every device."""
    return Generator("cpu").manual_seed(seed)


def varied_noise(shape: tuple[int, ...], generator: Generator, variation: Variation, index: int) -> Tensor:
    """Return standard normal noise with the variation seed's noise mixed in, float32.

    Args:
        shape: (1, channels, rows, columns) in latent space.
        generator: The image's own generator; the sampler uses it afterwards.
        variation: The variation seed and its strength.
        index: Index of the image in the batch, from 0; the variation seed used is the variation's seed + index.
    """
    own = torch.randn(shape, generator=generator)
    other = torch.randn(shape, generator=make_generator(variation.seed + index))
    return slerp(own, other, variation.strength)


def slerp(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """Interpolate spherically (Shoemake, 1985), so that the mix of two noises has the norm of either."""
    if weight in (0, 1):
        return end if weight else start
    cosine = torch.dot(start.flatten() / start.norm(), end.flatten() / end.norm()).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(angle.sin()) < 1e-4:
        return torch.lerp(start, end, weight)
    return (torch.sin((1 - weight) * angle) * start + torch.sin(weight * angle) * end) / torch.sin(angle)
