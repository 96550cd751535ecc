"""What tiled decoding changes: PSNR against the whole decoder, of sample photographs through the starter's autoencoder.

python bench/tiling.py [--size 640]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from safelight.generation.engine import Engine
from safelight.generation.memory_tiling import SharedStatistics, tiled_call
from safelight.images import decode
from safelight.models.checkpoints.loading import pixels_per_latent
from safelight.samples import sample_photographs
from safelight.settings import Settings


def psnr(picture: Tensor, expected: Tensor) -> float:
    """The ratio of two pictures in [-1, 1] in dB."""
    error = ((picture.clamp(-1, 1) - expected.clamp(-1, 1)) / 2).square().mean()
    return float(10 * torch.log10(1 / error))


def measure(vae: Any, path: Path, side: int) -> tuple[float, float]:
    """PSNR in dB of one photograph, with shared statistics of group normalization and with each tile's own."""
    photo = decode(path).image.convert("RGB").resize((side, side))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        whole = vae.decode(latents, return_dict=False)[0]
        tiled = tiled_call(vae, "decode", pixels_per_latent(vae))
        shared = tiled(latents, return_dict=False)[0]
        with mock.patch.object(SharedStatistics, "_normalize", staticmethod(nn.functional.group_norm)):
            separate = tiled(latents, return_dict=False)[0]
    return psnr(shared, whole), psnr(separate, whole)


def main() -> None:
    """Print a line for each photograph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=640, help="width and height in pixels")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as home:
        engine = Engine(Settings(home=Path(home), device="cpu"))
        vae = engine._describe(engine.checkpoint("starter")).sources["vae"].load().network
        for path in sample_photographs():
            shared, separate = measure(vae, path, size)
            sys.stdout.write(f"{path.stem:12} shared {shared:.1f} dB, each tile's own {separate:.1f} dB\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
