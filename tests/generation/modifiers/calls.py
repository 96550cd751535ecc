"""Calls of a denoiser for tests of modifiers, and a denoiser that answers with what a test gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from safelight.generation.modifiers.denoiser_call import DenoiserCall, Role

PAIR = (Role.NEGATIVE, Role.POSITIVE)


def doubled(seed: int = 0, channels: int = 4) -> Tensor:
    """Random latents or predictions of a pair, (2, channels, 8, 8)."""
    return torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def denoiser_call(
    latents: Tensor, step: int = 0, steps: int = 4, roles: tuple[Role, ...] = PAIR, **arguments: Any
) -> DenoiserCall:
    """A call with these latents and further arguments."""
    return DenoiserCall({"sample": latents, "timestep": torch.tensor(5)} | arguments, roles, step, steps)


def answers(prediction: Tensor) -> Callable[[DenoiserCall], Tensor]:
    """A denoiser that returns this prediction."""
    return lambda _call: prediction


class Recorder:
    """A denoiser that returns its latents plus one, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[DenoiserCall] = []

    def __call__(self, call: DenoiserCall) -> Tensor:
        self.calls.append(call)
        return call.latents + 1
