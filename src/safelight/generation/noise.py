"""Where a picture's noise comes from: a generator for its seed, and a little of another seed's noise."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from safelight.generation.request import Variation


def generator_for(seed: int) -> Generator:
    """A generator on the CPU, so that a seed means the same noise whatever the device that draws."""
    return Generator("cpu").manual_seed(seed)


def varied_noise(shape: tuple[int, ...], generator: Generator, variation: Variation, index: int) -> Tensor:
    """Standard normal noise with another seed's mixed in, float32.

    Args:
        shape: (1, channels, rows, columns) in latent space.
        generator: The picture's own; it goes on to serve the sampler.
        variation: The other seed, and how much of it.
        index: Which picture of the batch this is, from 0: it takes the variation's seed + index.
    """
    own = torch.randn(shape, generator=generator)
    other = torch.randn(shape, generator=generator_for(variation.seed + index))
    return slerp(own, other, variation.strength)


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Spherical interpolation (Shoemake, 1985): a mix of two noises that is as strong as either."""
    if share in (0, 1):
        return end if share else start
    cosine = torch.dot(start.flatten() / start.norm(), end.flatten() / end.norm()).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(angle.sin()) < 1e-4:
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)
