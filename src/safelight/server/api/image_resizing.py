"""Bring an image to another size: stretched, cropped, or padded with its own edges."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

Size = tuple[int, int]
STRETCH, CROP, PAD = range(3)
"""The ways of resizing, with A1111's numbers of ``resize_mode``."""


def resize(image: Image.Image, size: Size, mode: int) -> Image.Image:
    """Resize an image.

    Args:
        image: An image.
        size: Target width and height in pixels.
        mode: ``STRETCH`` ignores the proportions, ``CROP`` covers the size and cuts off the rest, ``PAD`` fits the
            whole image inside and repeats its edge pixels around it.

    Returns:
        The image itself where it has the size already.
    """
    if image.size == size:
        return image
    if mode == CROP:
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if mode == STRETCH:
        return image.resize(size, Image.Resampling.LANCZOS)
    scale = min(whole / side for whole, side in zip(size, image.size, strict=True))
    fitting = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    inner = image.resize(fitting, Image.Resampling.LANCZOS)
    missing = [(whole - part, (whole - part) // 2) for whole, part in zip(size, inner.size, strict=True)]
    (across, left), (down, top) = missing
    edges = [(top, down - top), (left, across - left)] + ([(0, 0)] if inner.mode == "RGB" else [])
    return Image.fromarray(np.pad(np.asarray(inner), edges, mode="edge"))


def fast_png(image: Image.Image) -> bytes:
    """Encode an image as PNG at the lowest compression level: fast, not small."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
