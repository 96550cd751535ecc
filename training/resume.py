"""Restore checkpoints in work/ from the shipped starter, so that denoiser.py resumes from it."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

import tokenizer as words
from denoiser import Denoiser
from loops import save
from pictures import WORK
from ship import STARTER


def resume(folder: Path = STARTER, work: Path = WORK) -> None:
    """Write the tokenizer and the checkpoints of autoencoder and denoiser, as their trainings would have saved them."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    words.save(pipeline.tokenizer, work / "tokenizer")
    net = Denoiser(len(pipeline.tokenizer))
    net.text, net.unet = pipeline.text_encoder, pipeline.unet
    save(work / "autoencoder-both.pt", net=pipeline.vae.state_dict())
    save(work / "denoiser.pt", net=net.state_dict(), average=net.state_dict(), step=0)


if __name__ == "__main__":
    resume()
