"""Train the upscaler: twice the width and height, restoring edges that the autoencoder has softened.

A compact network of Real-ESRGAN's kind (Wang et al., 2021): it computes at the small size, and its residual to the
enlarged picture is rearranged from channels (pixel shuffle). spandrel loads it, and so does any tool that uses
spandrel.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from torch import Tensor

from autoencoder import is_held_out, reconstruction_loss, to_signed
from loops import Log, batches, save, set_rates, warmed_up
from muon import optimisers
from pictures import SIZE, WORK, install_packages, render_icons, rows_and_icons
from scenes import COLOURS, Pictures
from ship import trained_autoencoder

UPSCALER = Path(__file__).parents[1] / "src/safelight/models/upscalers/starter-2x.safetensors"
FACTOR, BATCH, CROP = 2, 16, 48
"""Scale factor; pictures per step; side of the training crops in pixels."""


def build() -> Compact:
    """Build eight convolutions of 32 channels; a picture of 128 x 128 takes a few hundredths of a second."""
    net = Compact(num_feat=32, num_conv=8, upscale=FACTOR)
    return net.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Pairs:
    """The same pictures in bytes: small, small after the starter's autoencoder, and large."""

    small: Tensor
    """(n, 3, 128, 128)"""
    decoded: Tensor
    """(n, 3, 128, 128): encoded and decoded by the autoencoder."""
    large: Tensor
    """(n, 3, 256, 256)"""

    def __len__(self) -> int:
        return len(self.large)


def compose(cut_out: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """Paste a cut-out at a random place on a random background, (256, 256, 3)."""
    full = SIZE * FACTOR
    background = COLOURS[str(random.choice(list(COLOURS)))] if random.random() < 0.5 else COLOURS["white"]
    canvas = Image.new("RGB", (full, full), background)
    # Premultiplied, so that the colour of transparent pixels does not bleed into the edge.
    layer = Image.fromarray(cut_out).convert("RGBa").resize((side, side), Image.Resampling.LANCZOS)
    layer = layer.convert("RGBA")
    corner = [int(value) for value in random.integers(0, full - side + 1, 2)]
    canvas.paste(layer, (corner[0], corner[1]), layer)
    return np.asarray(canvas)


@torch.no_grad()
def pairs_of(cut_outs: np.ndarray, rounds: int, work: Path, seed: int = 0) -> Pairs:
    """Compose scenes of all (256, 256, 4) cut-outs; noise is added to the latents, since generated ones are inexact."""
    random = np.random.default_rng(seed)
    net, generator = trained_autoencoder(work).eval(), torch.Generator().manual_seed(seed)
    large, small, drawn = [], [], []
    scenes = [
        compose(cut_out, round(SIZE * FACTOR * random.uniform(0.5, 0.95)), random)
        for _ in range(rounds)
        for cut_out in cut_outs
    ]
    for start in range(0, len(scenes), 32):
        images = [Image.fromarray(scene) for scene in scenes[start : start + 32]]
        shrunk = [np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for image in images]
        large.append(torch.from_numpy(np.stack(scenes[start : start + 32])).permute(0, 3, 1, 2))
        small.append(torch.from_numpy(np.stack(shrunk)).permute(0, 3, 1, 2))
        latents = net.encode(to_signed(small[-1])).latent_dist.mode()
        off = 0.15 * torch.rand(len(latents), 1, 1, 1, generator=generator)
        latents += off * torch.randn(latents.shape, generator=generator)
        drawn.append(((net.decode(latents).sample + 1) * 127.5).round().clamp(0, 255).byte())
    return Pairs(torch.cat(small), torch.cat(drawn), torch.cat(large))


def to_unit(pixels: Tensor) -> Tensor:
    """Convert bytes to [0, 1], the range of upscalers."""
    return (pixels.float() / 255).contiguous(memory_format=torch.channels_last)


def crops(pairs: Pairs, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same crops of pictures, small and large; two thirds of the small ones are from the autoencoder."""
    y, x = torch.randint(0, SIZE - CROP + 1, (2,), generator=generator).tolist()
    source = pairs.decoded if torch.rand(1, generator=generator) < 2 / 3 else pairs.small
    inputs = source[rows, :, y : y + CROP, x : x + CROP]
    span = FACTOR * CROP
    target = pairs.large[rows, :, FACTOR * y : FACTOR * y + span, FACTOR * x : FACTOR * x + span]
    return to_unit(inputs), to_unit(target)


def psnr(output: Tensor, target: Tensor) -> float:
    """Mean peak signal-to-noise ratio of [0, 1] pictures, in dB."""
    error = (output.clamp(0, 1) - target).pow(2).mean((1, 2, 3))
    return float((-10 * error.log10()).mean())


def enlarge_lanczos(pixels: Tensor) -> Tensor:
    """Enlarge (n, 3, h, w) bytes by Pillow's Lanczos filter, to [0, 1]: the baseline of the network."""
    images = [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).numpy()]
    side = FACTOR * SIZE
    enlarged = [np.asarray(image.resize((side, side), Image.Resampling.LANCZOS)) for image in images]
    return to_unit(torch.from_numpy(np.stack(enlarged)).permute(0, 3, 1, 2))


@torch.no_grad()
def measure(net: Compact, pairs: Pairs) -> dict[str, float]:
    """PSNR in dB of the network and of Lanczos on held-out pictures."""
    target, found = to_unit(pairs.large), {}
    for name, pixels in (("small", pairs.small), ("drawn", pairs.decoded)):
        output = torch.cat([net(to_unit(part)) for part in pixels.split(16)])
        found[name] = psnr(output, target)
        found[f"{name}, lanczos"] = psnr(enlarge_lanczos(pixels), target)
    return found


def format_scores(scores: dict[str, float]) -> str:
    """Format scores for a log line."""
    return "  ".join(f"{name} {value:.2f} dB" for name, value in scores.items())


def train(steps: int, rate: float, work: Path = WORK) -> Compact:
    """Train from scratch; takes minutes."""
    pictures = Pictures.load(work)
    modules = install_packages()
    cut_outs = render_icons([icon for _, icon in rows_and_icons(pictures.things, modules)], SIZE * FACTOR)
    held = np.array([is_held_out(pictures, row) for row in range(len(pictures.rows))])
    pairs = pairs_of(cut_outs[~held], 1, work)
    unseen = pairs_of(cut_outs[held], 1, work, seed=1)
    torch.manual_seed(0)
    net, generator = build(), torch.Generator().manual_seed(0)
    trained, log = optimisers(net, rate, rate / 2), Log(100)
    for step, rows in zip(range(steps), batches(len(pairs), BATCH, generator), strict=False):
        set_rates(trained, warmed_up(step) * max(0.01, 1 - step / steps))
        inputs, target = crops(pairs, rows, generator)
        loss = reconstruction_loss(net(inputs), target)
        loss.backward()
        for optimiser in trained:
            optimiser.step()
        net.zero_grad()
        log.add(step + 1, len(rows), loss=float(loss.detach()))
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}  {format_scores(measure(net, unseen))}", flush=True)
    save(work / "upscaler.pt", net=net.state_dict())
    return net


def ship(net: Compact, path: Path = UPSCALER) -> None:
    """Write the weights in half precision."""
    path.parent.mkdir(exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in net.state_dict().items()}
    about = {
        "modelspec.architecture": "RealESRGAN Compact",
        "modelspec.title": "Safelight's starter, twice as large",
        "modelspec.license": "Apache-2.0",
    }
    save_file(weights, path, about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=5e-3)
    chosen = parser.parse_args()
    ship(train(chosen.steps, chosen.rate))
