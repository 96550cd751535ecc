"""Common parts of the training loops: learning-rate schedules, atomic checkpoints, a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def set_rates(optimisers: list[torch.optim.Optimizer], fraction: float) -> None:
    """Set each group's learning rate to a fraction of its initial one."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * fraction


def warmed_up(step: int, warmup: int = 100) -> float:
    """The share of the full learning rate during warm-up."""
    return min(1.0, (step + 1) / warmup)


def save(path: Path, **parts: Any) -> None:
    """Write a checkpoint atomically: if the process is killed meanwhile, the last one stays."""
    torch.save(parts, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """Load the last checkpoint; None if there is none."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


class Average:
    """An exponential moving average of a module's parameters; it is what is shipped."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update the average after a step; the decay is lower in early steps."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - decay)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of indices; each index occurs once per epoch."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % size].split(size)


class Log:
    """Prints a line every few steps: step, samples per second, and the means of the values since the last line."""

    def __init__(self, every: int) -> None:
        self.every, self.sums, self.since, self.samples = every, {}, time.monotonic(), 0

    def add(self, step: int, samples: int, **values: float) -> None:
        """Record one step."""
        self.samples += samples
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if step % self.every == 0:
            rate = self.samples / (time.monotonic() - self.since)
            means = " ".join(f"{name} {value / self.every:.4f}" for name, value in self.sums.items())
            print(f"step {step}  {rate:.1f}/s  {means}", flush=True)
            self.sums, self.since, self.samples = {}, time.monotonic(), 0
