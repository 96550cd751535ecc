"""Harmless pictures of many kinds from few photographs, to calibrate and to measure a quantized classifier."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageFilter

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
_MIN_BYTES = 20_000
_SYNTHETIC_SHARE = 0.12
_SIDE, _LONGEST = 384, 640
_SKIN = np.array([235, 180, 150], np.float32)


def find_photographs(*folders: Path) -> list[Path]:
    """Return the pictures below folders, without links and icons."""
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.is_symlink() and path.stat().st_size > _MIN_BYTES
    )


def make_variants(photographs: list[Path], count: int, seed: int) -> Iterator[Image.Image]:
    """Yield crops with changed colours, blur, noise, blending and JPEG damage, and some synthetic pictures."""
    generator = np.random.default_rng(seed)
    pictures = [_open_small(path) for path in photographs]
    for _ in range(count):
        if generator.random() < _SYNTHETIC_SHARE:
            yield _draw_blobs(generator)
        else:
            yield _change(_crop(_pick(pictures, generator), generator), pictures, generator)


def _open_small(path: Path) -> Image.Image:
    picture = Image.open(path)
    picture.draft("RGB", (1400, 1400))
    picture = picture.convert("RGB")
    picture.thumbnail((1600, 1600))
    return picture


def _pick(pictures: list[Image.Image], generator: Generator) -> Image.Image:
    return pictures[int(generator.integers(len(pictures)))]


def _crop(picture: Image.Image, generator: Generator) -> Image.Image:
    """Crop from an eighth of the sides to all of them, and flip half of the results."""
    scale, aspect = np.exp(generator.uniform(np.log(0.12), 0)), np.exp(generator.uniform(-0.6, 0.6))
    width = int(min(picture.width, max(40, picture.width * scale * aspect)))
    height = int(min(picture.height, max(40, picture.height * scale / aspect)))
    left = int(generator.integers(0, picture.width - width + 1))
    top = int(generator.integers(0, picture.height - height + 1))
    part = picture.crop((left, top, left + width, top + height))
    part.thumbnail((_LONGEST, _LONGEST))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else part


def _change(picture: Image.Image, others: list[Image.Image], generator: Generator) -> Image.Image:
    if generator.random() < 0.2:
        other = _pick(others, generator).resize(picture.size)
        picture = Image.blend(picture, other, float(generator.uniform(0.2, 0.8)))
    if generator.random() < 0.6:
        picture = _shift_colours(picture, generator)
    if generator.random() < 0.3:
        picture = ImageEnhance.Contrast(picture).enhance(float(generator.uniform(0.3, 1.8)))
    if generator.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.5, 6))))
    if generator.random() < 0.2:
        pixels = np.asarray(picture, np.float32)
        picture = _to_image(pixels + generator.normal(0, generator.uniform(2, 25), pixels.shape))
    if generator.random() < 0.3:
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=int(generator.integers(5, 90)))
        picture = Image.open(buffer).convert("RGB")
    return picture


def _shift_colours(picture: Image.Image, generator: Generator) -> Image.Image:
    """Scale and shift the channels; a third become the colours of skin, since they score higher."""
    pixels = np.asarray(picture, np.float32)
    if generator.random() < 0.3:
        pixels = 0.4 * pixels + 0.7 * pixels.mean(axis=2, keepdims=True) / 255 * _SKIN
    gains, offsets = np.exp(generator.normal(0, 0.25, 3)), generator.normal(0, 15, 3)
    return _to_image(pixels * gains + offsets)


def _draw_blobs(generator: Generator) -> Image.Image:
    """Return a blend of a few colours, half of them near that of skin, with noise."""
    cells = int(generator.integers(1, 9))
    centre, spread = ((200, 150, 120), 45) if generator.random() < 0.5 else ((128, 128, 128), 75)
    colours = _to_image(generator.normal(centre, spread, (cells, cells, 3)))
    filter_ = Image.Resampling.BICUBIC if generator.random() < 0.7 else Image.Resampling.NEAREST
    smooth = np.asarray(colours.resize((_SIDE, _SIDE), filter_), np.float32)
    return _to_image(smooth + generator.normal(0, generator.uniform(0, 20), smooth.shape))


def _to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
