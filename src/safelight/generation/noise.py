"""The noise of an image: a random generator for its seed, and the variation seed's noise mixed in.

Where a seed is to give the numbers that it gives on a CUDA device, the generator is only a handle: while ``CudaNoise``
is active, what is drawn from it comes from ``philox``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode

from safelight.generation.philox import cuda_normals
from safelight.generation.request import GenerationRequest, Variation

if TYPE_CHECKING:
    from safelight.settings import Settings


def make_generator(seed: int) -> Generator:
    """Return a generator on the CPU, so that a seed gives the same noise on every device."""
    return Generator("cpu").manual_seed(seed)


def with_noise_source(request: GenerationRequest, settings: Settings) -> GenerationRequest:
    """A request with the noise source of the settings where it has none."""
    if request.noise_source is not None:
        return request
    return request.model_copy(update={"noise_source": settings.noise_source})


class CudaNoise(TorchFunctionMode):
    """While it is active in a thread, ``torch.randn`` draws for one generator what it draws on a CUDA device.

    Pipelines and samplers get the generator and draw from it as from any other: the initial noise first, then what a
    sampler adds, as A1111 draws them. With a variation the first draw is mixed with the other seed's, likewise.

    Args:
        seed: The picture's seed.
        variation: The other seed and its strength, for this picture; None without.
        draws: How often was drawn before.

    Attributes:
        generator: The handle. On a CPU like any other, so that pipelines draw where they draw without this.
        draws: How often was drawn.
        changes_networks: False: compiled forms compute the same while it is active.
    """

    changes_networks = False

    def __init__(self, seed: int, variation: Variation | None = None, draws: int = 0) -> None:
        super().__init__()
        self.generator = make_generator(seed)
        self.draws = draws
        self._seed, self._variation = seed, variation

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw, or compute whatever else was called."""
        kwargs = kwargs or {}
        if func is not torch.randn or kwargs.get("generator") is not self.generator:
            return func(*args, **kwargs)
        size = kwargs.get("size", args)
        shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
        return self._draw(shape).to(device=kwargs.get("device"), dtype=kwargs.get("dtype"))

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        drawn = _cuda_randn(self._seed, self.draws, shape)
        if self.draws == 0 and self._variation is not None:
            other = _cuda_randn(self._variation.seed, 0, shape)
            drawn = slerp_columns(drawn, other, self._variation.strength)
        self.draws += 1
        return drawn


def _cuda_randn(seed: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(cuda_normals(seed, draw, prod(shape))).reshape(shape)


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


def slerp_columns(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """The same with an angle of its own for each column of each channel, as A1111 mixes two seeds.

    Args:
        start: (..., rows, columns).
        end: Likewise.
        weight: Of the end, 0 to 1.
    """
    if weight in (0, 1):
        return end if weight else start
    units = [each / each.norm(dim=-2, keepdim=True) for each in (start, end)]
    angle = torch.acos((units[0] * units[1]).sum(-2, keepdim=True).clamp(-1, 1))
    close = angle.sin() < 1e-4
    mixed = (torch.sin((1 - weight) * angle) * start + torch.sin(weight * angle) * end) / torch.sin(angle)
    return torch.where(close, torch.lerp(start, end, weight), mixed)
