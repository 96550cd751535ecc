"""Train a classifier that recognises the thing and the style of a picture; it is trained on real pictures only."""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loops import Log, batches, load, save, set_rates, warmed_up
from muon import optimisers
from pictures import STYLES, WORK
from scenes import Pictures, PlacedThing, Scene, render_scene

SIDE = 64
"""Pictures are classified at half size, where all things are recognisable and small flaws do not matter."""


class Judge(nn.Module):
    """A small residual network with two heads."""

    def __init__(self, things: int, styles: int = len(STYLES)) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256)
        self.stages = nn.ModuleList(DownsamplingBlock(a, b) for a, b in pairwise(widths))
        self.thing, self.style = nn.Linear(256 * 4, things), nn.Linear(256, styles)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of things and of styles for (n, 3, 64, 64) pictures in [-1, 1]."""
        for stage in self.stages:
            pictures = stage(pictures)
        return self.thing(F.adaptive_avg_pool2d(pictures, 2).flatten(1)), self.style(pictures.mean((2, 3)))


class DownsamplingBlock(nn.Module):
    """Two convolutions with downsampling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)])

    def forward(self, values: Tensor) -> Tensor:
        """Halve the resolution and change the number of channels."""
        values = F.silu(self.norms[0](F.max_pool2d(self.first(values), 2)))
        return values + F.silu(self.norms[1](self.second(values)))


def resize_input(pictures: Tensor) -> Tensor:
    """Resize (n, 3, 128, 128) bytes or [-1, 1] floats to the classifier's input."""
    signed = pictures.float() / 127.5 - 1 if pictures.dtype == torch.uint8 else pictures
    return F.interpolate(signed, (SIDE, SIDE), mode="area").contiguous(memory_format=torch.channels_last)


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Augment real pictures by small shifts, scaling, blur, tint and noise, since generated pictures are not exact."""
    count = len(pictures)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    grid = torch.zeros(count, 2, 3)
    grid[:, 0, 0] = uniform(0.9, 1.2)
    grid[:, 1, 1] = uniform(0.9, 1.2)
    grid[:, 0, 1], grid[:, 1, 0] = uniform(-0.12, 0.12), uniform(-0.12, 0.12)
    grid[:, 0, 2], grid[:, 1, 2] = uniform(-0.12, 0.12), uniform(-0.12, 0.12)
    where = F.affine_grid(grid, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, where, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1)
    moved = torch.lerp(moved, blurred, uniform(0, 1)[:, None, None, None])
    tint = torch.randn(count, 3, 1, 1, generator=generator) * 0.08
    noise = torch.randn(moved.shape, generator=generator) * uniform(0, 0.12)[:, None, None, None]
    return (moved * uniform(0.85, 1.1)[:, None, None, None] + tint + noise).clamp(-1, 1)


def real_pictures(pictures: Pictures) -> tuple[Tensor, Tensor, Tensor]:
    """All pictures on a white background, (n, 3, 64, 64), with their things and styles."""
    random = np.random.default_rng(0)
    rows = range(len(pictures.rows))
    plain = np.stack([render_scene(pictures, Scene((PlacedThing(row),)), random) for row in rows])
    things = torch.tensor([row.thing for row in pictures.rows])
    styles = torch.tensor([list(STYLES).index(row.style) for row in pictures.rows])
    return resize_input(torch.from_numpy(plain).permute(0, 3, 1, 2)), things, styles


def train(steps: int, work: Path = WORK) -> None:
    """Train from scratch; takes minutes."""
    pictures = Pictures.load(work)
    torch.manual_seed(0)
    net = Judge(len(pictures.things)).to(memory_format=torch.channels_last)
    trained, generator = optimisers(net, 5e-3, 2e-3), torch.Generator().manual_seed(0)
    inputs, things, styles = real_pictures(pictures)
    log = Log(100)
    for step, rows in zip(range(steps), batches(len(inputs), 64, generator), strict=False):
        set_rates(trained, warmed_up(step) * max(0.02, 1 - step / steps))
        thing, style = net(augment(inputs[rows], generator))
        loss = F.cross_entropy(thing, things[rows], label_smoothing=0.05) + F.cross_entropy(
            style, styles[rows]
        )
        loss.backward()
        for optimiser in trained:
            optimiser.step()
        net.zero_grad()
        right = (thing.argmax(1) == things[rows]).float().mean()
        log.add(step + 1, len(rows), loss=float(loss.detach()), right=float(right))
    save(work / "judge.pt", net=net.state_dict())


def trained_judge(pictures: Pictures, work: Path = WORK) -> Judge:
    """Load the classifier that `train` saved."""
    net = Judge(len(pictures.things))
    net.load_state_dict(load(work / "judge.pt")["net"])
    return net.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    train(parser.parse_args().steps)
