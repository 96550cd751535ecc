"""Make pictures in a style that the starter does not know, as an example for ``safelight train lora``.

Blueprints: white outlines of things on blue paper with a grid, with captions beside them. Things that are held out
show afterwards whether the style was learnt or the pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from captions import with_article
from evaluate import Painter, arrange, generate, load_pipeline, merge_lora
from pictures import SIZE, WORK
from scenes import Pictures

PAPER, GRID, LINES = (28, 72, 150), (52, 98, 176), (240, 246, 255)
GRID_STEP = 16
STYLE = "blueprint style"
HELD_OUT = (
    *("owl", "rocket", "guitar", "cat face", "fire engine", "butterfly", "castle", "mushroom"),
    *("apple", "pizza", "robot", "fish"),
)
"""Things that are not drawn for training."""


def draw_blueprint(pixels: np.ndarray) -> Image.Image:
    """Draw the outlines of a cut-out, (128, 128, 4) uint8 with straight alpha, as a blueprint."""
    cut_out = Image.fromarray(pixels)
    side = round(0.88 * SIZE)
    small = cut_out.convert("RGBa").resize((side, side), Image.Resampling.LANCZOS).convert("RGBA")
    canvas = Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 0))
    canvas.paste(small, ((SIZE - side) // 2, (SIZE - side) // 2))
    lines = Image.fromarray(find_outlines(np.asarray(canvas.filter(ImageFilter.GaussianBlur(0.7)))))
    paper = np.empty((SIZE, SIZE, 3), np.uint8)
    paper[:] = PAPER
    paper[GRID_STEP // 2 :: GRID_STEP], paper[:, GRID_STEP // 2 :: GRID_STEP] = GRID, GRID
    return Image.composite(Image.new("RGB", (SIZE, SIZE), LINES), Image.fromarray(paper), lines)


def find_outlines(pixels: np.ndarray) -> np.ndarray:
    """Where a picture's colour or transparency changes most, (h, w, 4) uint8 to (h, w) uint8."""
    alpha = pixels[..., 3:] / 255.0
    values = np.concatenate([pixels[..., :3] / 255.0 * alpha, alpha], -1)
    rows, columns = np.gradient(values, axis=(0, 1))
    slope = np.sqrt((rows**2 + columns**2).max(-1))
    # a line where the slope is steeper than half of the steepest nearby, and not just noise
    steepest = (
        np.asarray(
            Image.fromarray((np.clip(slope, 0, 1) * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(5)),
            np.float64,
        )
        / 255
    )
    return (np.clip((slope - np.maximum(0.6 * steepest, 0.06)) / 0.04, 0, 1) * 255).astype(np.uint8)


def write_pictures(folder: Path, count: int, pictures: Pictures) -> None:
    """Write pictures of random things in the flat style's drawing, each with a caption."""
    rows = [
        number
        for number, row in enumerate(pictures.rows)
        if row.style == "flat" and pictures.things[row.thing].name not in HELD_OUT
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for number in np.random.default_rng(3).choice(rows, count, replace=False):
        name = pictures.thing_of(int(number)).name
        path = folder / f"{name.replace(' ', '-')}.png"
        draw_blueprint(pictures.pixels[number]).save(path)
        path.with_suffix(".txt").write_text(f"{with_article(name)}, {STYLE}\n")


def compare(lora: Path) -> Image.Image:
    """Things that were held out: above as the starter draws them, below with the LoRA."""
    captions = [f"{with_article(name)}, {STYLE}" for name in HELD_OUT[:8]]
    pipeline = load_pipeline()
    before = generate(Painter(pipeline), captions)
    merge_lora(pipeline.unet, lora)
    return arrange(torch.cat([before, generate(Painter(pipeline), captions)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WORK / "blueprints")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument(
        "--compare", type=Path, metavar="LORA", help="Draw held-out things with a trained LoRA."
    )
    parser.add_argument("--sheet", type=Path, default=WORK / "blueprints.png", help="The sheet of --compare.")
    chosen = parser.parse_args()
    if chosen.compare:
        compare(chosen.compare).save(chosen.sheet, optimize=True)
    else:
        write_pictures(chosen.out, chosen.count, Pictures.load())
