"""Train the autoencoder: 128 x 128 pixels to 16 x 16 x 4 latents and back, in two stages.

Stage `both` trains encoder and decoder on quarter-size crops, then normalises the latents inside the network. Stage
`decoder` trains the decoder alone on whole pictures: the latents do not change, so the denoiser can be trained at the
same time.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from loops import Log, batches, load, save, set_rates, warmed_up
from muon import optimisers
from pictures import WORK
from scenes import Pictures, PlacedThing, Scene, random_scene, render_scene

HELD_OUT = 20
"""One of this many things, in all its styles, is held out of training; the reported PSNR is measured on those."""
BATCH, CROP = 32, 64


def build() -> AutoencoderKL:
    """Build the network: few channels at high resolution; most parameters are at 16 x 16."""
    widths = (16, 32, 64, 128)
    net = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=128,
        scaling_factor=1.0,
    )
    return net.to(memory_format=torch.channels_last)


def is_held_out(pictures: Pictures, row: int) -> bool:
    """Whether a picture shows a held-out thing; the choice does not depend on which other things there are."""
    return zlib.crc32(pictures.thing_of(row).code.encode()) % HELD_OUT == 0


def render_scenes(pictures: Pictures, rounds: int, seed: int) -> Tensor:
    """Render varied scenes with every picture, (n, 3, 128, 128) uint8."""
    random = np.random.default_rng(seed)
    rows = [*range(len(pictures.rows))] * rounds
    scenes = [render_scene(pictures, random_scene(pictures, row, random), random) for row in rows]
    return torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2)


def held_out_pictures(pictures: Pictures) -> Tensor:
    """The held-out pictures on a white background, (n, 3, 128, 128) in [-1, 1]."""
    rows = [row for row in range(len(pictures.rows)) if is_held_out(pictures, row)]
    random = np.random.default_rng(0)
    plain = np.stack([render_scene(pictures, Scene((PlacedThing(row),)), random) for row in rows])
    return to_signed(torch.from_numpy(plain).permute(0, 3, 1, 2))


def to_signed(pixels: Tensor) -> Tensor:
    """Convert bytes to [-1, 1]."""
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def psnr(net: AutoencoderKL, pictures: Tensor) -> float:
    """Mean peak signal-to-noise ratio of the reconstructions, in dB."""
    total = 0.0
    for part in pictures.split(32):
        error = (net.decode(net.encode(part).latent_dist.mode()).sample.clamp(-1, 1) - part) / 2
        total += float((-10 * error.pow(2).mean((1, 2, 3)).log10()).sum())
    return total / len(pictures)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 error, squared error, and L1 error of the gradients."""
    error = output - target
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.pow(2).mean() + 0.5 * edges


@torch.no_grad()
def normalise_latents(net: AutoencoderKL, sample: Tensor) -> None:
    """Fold the latents' mean and standard deviation into the 1 x 1 convolutions, and set their variance to zero."""
    latents = torch.cat([net.encode(to_signed(part)).latent_dist.mode() for part in sample.split(32)])
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out_of = net.quant_conv, net.post_quant_conv
    into.weight[:4] /= spread[:, None, None, None]
    into.bias[:4] = (into.bias[:4] - mean) / spread
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean
    out_of.weight *= spread[None, :, None, None]
    into.weight[4:] = 0
    into.bias[4:] = -20


def train(stage: str, steps: int, rate: float, work: Path = WORK) -> None:
    """Train one stage, resuming from its last checkpoint if there is one."""
    pictures = Pictures.load(work)
    net, path = build(), work / f"autoencoder-{stage}.pt"
    whole = stage == "decoder"
    if whole:
        net.load_state_dict(load(work / "autoencoder-both.pt")["net"])
        net.encoder.requires_grad_(False)
        net.quant_conv.requires_grad_(False)
    trained = optimisers(net, rate, rate / 4)
    start = 0
    if last := load(path):
        net.load_state_dict(last["net"])
        start = last["step"]
        for optimiser, state in zip(trained, last["optimisers"], strict=True):
            optimiser.load_state_dict(state)
    seen = [row for row in range(len(pictures.rows)) if not is_held_out(pictures, row)]
    pool = render_scenes(pictures.only(seen), rounds=3, seed=start)
    measured = held_out_pictures(pictures)
    generator = torch.Generator().manual_seed(start)
    log = Log(50)
    size = 8 if whole else BATCH
    for step, rows in zip(range(start, steps), batches(len(pool), size, generator), strict=False):
        set_rates(trained, warmed_up(step) * max(0.02, 1 - step / steps))
        y, x = (0, 0) if whole else torch.randint(0, 9, (2,), generator=generator).mul(8).tolist()
        crop = pool[rows] if whole else pool[rows, :, y : y + CROP, x : x + CROP]
        target = to_signed(crop)
        with torch.set_grad_enabled(not whole):
            latents = net.encode(target).latent_dist.mode()
        noisy = latents + 0.03 * latents.std().detach() * torch.randn_like(
            latents
        )  # generated latents are never exact
        output = net.decode(noisy).sample
        loss = reconstruction_loss(output, target)
        (loss + 1e-4 * latents.pow(2).mean()).backward()
        for optimiser in trained:
            optimiser.step()
        net.zero_grad()
        log.add(step + 1, size, loss=float(loss))
        if (step + 1) % 250 == 0 or step + 1 == steps:
            if step + 1 == steps and not whole:
                normalise_latents(net, pool[:2048])
            states = [optimiser.state_dict() for optimiser in trained]
            save(path, net=net.state_dict(), step=step + 1, optimisers=states)
            print(f"step {step + 1}  held-out PSNR {psnr(net, measured):.2f} dB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["both", "decoder"])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=8e-3)
    chosen = parser.parse_args()
    train(chosen.stage, chosen.steps, chosen.rate)
