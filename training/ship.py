"""Assemble the trained components as a Stable Diffusion folder: half precision, safetensors, usable by any tool."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

import autoencoder
import tokenizer as words
from denoiser import Denoiser, build_schedule
from loops import load
from pictures import WORK
from scenes import Pictures

STARTER = Path(__file__).parents[1] / "src/safelight/models/starter"


def trained_autoencoder(work: Path) -> autoencoder.AutoencoderKL:
    """The autoencoder with its best decoder."""
    net = autoencoder.build()
    last = load(work / "autoencoder-decoder.pt") or load(work / "autoencoder-both.pt")
    net.load_state_dict(last["net"])
    return net


def trained_denoiser(work: Path, vocabulary: int) -> Denoiser:
    """Text encoder and U-Net, averaged over the last steps."""
    net = Denoiser(vocabulary)
    net.load_state_dict(load(work / "denoiser.pt")["average"])
    return net


def assemble(work: Path) -> StableDiffusionPipeline:
    """All components as one pipeline, in full precision."""
    tokenizer = words.build(Pictures.load(work).things)
    denoiser = trained_denoiser(work, len(tokenizer))
    return StableDiffusionPipeline(
        vae=trained_autoencoder(work).eval(),
        text_encoder=denoiser.text.eval(),
        tokenizer=tokenizer,
        unet=denoiser.unet.eval(),
        scheduler=build_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def ship(folder: Path, work: Path = WORK) -> None:
    """Write the checkpoint; README.md, the model card, is kept."""
    pipeline = assemble(work).to(dtype=torch.float16)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(folder / part, ignore_errors=True)
    pipeline.save_pretrained(folder, safe_serialization=True)
    words.save(pipeline.tokenizer, folder / "tokenizer")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=STARTER)
    ship(parser.parse_args().out)
