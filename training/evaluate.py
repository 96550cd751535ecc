"""Measure the starter model with stock diffusers: accuracy of things, styles and colours, PSNR, a contact sheet.

Captions, seeds and steps are fixed, so that two runs on one machine give the same numbers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    TCDScheduler,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from autoencoder import held_out_pictures, psnr
from captions import STYLE_WORDS, name_in_colour, with_article
from judge import resize_input, trained_judge
from pictures import STYLES, WORK
from scenes import HUES, Pictures, hue_word, main_hue
from ship import STARTER

GUIDANCE, BATCH = 4.0, 20

SHEET = (Path(__file__).parent / "sheet.txt").read_text().splitlines()
"""The 64 prompts of the docs' contact sheet."""


class Painter:
    """The model with the number of steps and the guidance scale that are measured.

    Args:
        pipeline: The model.
        steps: Steps of each picture.
        guidance: The guidance scale; 1 is none.
    """

    def __init__(
        self, pipeline: StableDiffusionPipeline, steps: int = 20, guidance: float = GUIDANCE
    ) -> None:
        self.pipeline, self.steps, self.guidance = pipeline, steps, guidance


def merge_lora(unet: UNet2DConditionModel, file: Path) -> None:
    """Add a LoRA in kohya's layout to a U-Net's weights."""
    tensors = load_file(file)
    for name, module in unet.named_modules():
        key = f"lora_unet_{name.replace('.', '_')}"
        if (down := tensors.get(f"{key}.lora_down.weight")) is None:
            continue
        factors = tensors[f"{key}.lora_up.weight"].float().flatten(1), down.float().flatten(1)
        scale = float(tensors[f"{key}.alpha"]) / len(down)
        module.weight.data += scale * torch.mm(*factors).reshape(module.weight.shape)


def with_few_steps(pipeline: StableDiffusionPipeline, file: Path, steps: int) -> Painter:
    """The model with a few-step LoRA merged into its U-Net, without guidance."""
    merge_lora(pipeline.unet, file)
    pipeline.scheduler = TCDScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    return Painter(pipeline, steps, 1.0)


def generate(painter: Painter, captions: list[str]) -> Tensor:
    """Generate one picture per caption, (n, 3, 128, 128) in [-1, 1]; caption i has the seed i."""
    drawn = []
    for start in range(0, len(captions), BATCH):
        part = captions[start : start + BATCH]
        seeds = [torch.Generator().manual_seed(start + number) for number in range(len(part))]
        images = painter.pipeline(
            part,
            num_inference_steps=painter.steps,
            guidance_scale=painter.guidance,
            generator=seeds,
            output_type="pt",
        ).images
        drawn.append(images.cpu() * 2 - 1)
    return torch.cat(drawn)


def name_captions(pictures: Pictures, count: int) -> tuple[list[str], Tensor, Tensor]:
    """Captions of name and style for random pictures, with the correct thing and style."""
    rows = np.random.default_rng(7).choice(len(pictures.rows), count, replace=False)
    chosen = [pictures.rows[row] for row in rows]
    captions = [
        f"{with_article(pictures.things[row.thing].name)}, {STYLE_WORDS[row.style][0]}" for row in chosen
    ]
    styles = [list(STYLES).index(row.style) for row in chosen]
    return captions, torch.tensor([row.thing for row in chosen]), torch.tensor(styles)


def colour_captions(pictures: Pictures, count: int) -> tuple[list[str], list[str]]:
    """Captions with a colour that the thing does not have, with that colour."""
    random = np.random.default_rng(8)
    rows = [row for row, hue in enumerate(pictures.main_hues) if hue is not None]
    captions, colours = [], []
    for row in random.choice(rows, count, replace=False):
        others = [word for word in HUES if word != hue_word(pictures.main_hues[row] or 0)]
        colours.append(str(random.choice(others)))
        name = name_in_colour(pictures.thing_of(row).name, colours[-1])
        captions.append(f"{with_article(name)}, {STYLE_WORDS[pictures.rows[row].style][0]}")
    return captions, colours


def shown_colour(picture: Tensor) -> str:
    """The main colour of a generated picture on white; "" if there is none."""
    pixels = ((picture.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    alpha = np.where(pixels.min(-1) < 235, 255, 0).astype(np.uint8)  # white is the background
    hue = main_hue(np.dstack([pixels, alpha]))
    return "" if hue is None else hue_word(hue)


@torch.no_grad()
def measure(painter: Painter, pictures: Pictures, count: int) -> dict[str, float]:
    """Measure all numbers of the model card."""
    judge = trained_judge(pictures)
    captions, things, styles = name_captions(pictures, count)
    thing, style = judge(resize_input(generate(painter, captions)))
    best = thing.topk(5).indices == things[:, None]
    asked, colours = colour_captions(pictures, count // 2)
    obeyed = [
        shown_colour(picture) == colour
        for picture, colour in zip(generate(painter, asked), colours, strict=True)
    ]
    return {
        "top1": float(best[:, 0].float().mean()),
        "top5": float(best.any(1).float().mean()),
        "style": float((style.argmax(1) == styles).float().mean()),
        "colour": float(np.mean(obeyed)),
        "psnr": psnr(painter.pipeline.vae, held_out_pictures(pictures)),
    }


def load_pipeline(folder: Path = STARTER) -> StableDiffusionPipeline:
    """The model in full precision, with the sampler that is measured."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sheet(painter: Painter, captions: list[str], columns: int = 8) -> Image.Image:
    """Generate a contact sheet with a grey background."""
    return arrange(generate(painter, captions), columns)


def arrange(pictures: Tensor, columns: int = 8) -> Image.Image:
    """Arrange pictures, (n, 3, 128, 128) in [-1, 1], on a grey background."""
    pixels = ((pictures + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    canvas = Image.new("RGB", (columns * 132 + 4, -(-len(pixels) // columns) * 132 + 4), (225, 225, 228))
    for number, picture in enumerate(pixels):
        canvas.paste(Image.fromarray(picture), (number % columns * 132 + 4, number // columns * 132 + 4))
    return canvas


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--sheet", type=Path, help="Where to write the contact sheet (PNG).")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--lora", type=Path, help="A few-step LoRA.")
    parser.add_argument("--steps", type=int, help="20, or with a few-step LoRA 4.")
    chosen = parser.parse_args()
    pipe = load_pipeline(chosen.model)
    measured = (
        with_few_steps(pipe, chosen.lora, chosen.steps or 4)
        if chosen.lora
        else Painter(pipe, chosen.steps or 20)
    )
    if chosen.sheet:
        sheet(measured, SHEET).save(chosen.sheet)
    if chosen.count:
        print(json.dumps(measure(measured, Pictures.load(WORK), chosen.count), indent=1))
