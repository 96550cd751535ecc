"""Masks and canvases: what of a picture is drawn anew, what it is drawn from, and how the result is put back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy.ndimage import uniform_filter

from safelight.errors import MaskError
from safelight.generation.request import Inpaint, Outpaint

HALF = 128
"""Of 255: from here on a mask marks."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are the first that no longer belong to it."""


@dataclass(frozen=True)
class Canvas:
    """A picture to be drawn on in part.

    Args:
        original: What the result is laid over, RGB.
        start: What the drawing starts from, RGB: the original, with the masked part filled.
        marked: Mode L, 255 where it is drawn anew and 0 elsewhere.
        mask: The same with a soft edge, by which it is put back.
        box: The part that is given to the network.
    """

    original: Image.Image
    start: Image.Image
    marked: Image.Image
    mask: Image.Image
    box: Box

    def put_back(self, drawn: Image.Image) -> Image.Image:
        """The original with the drawn part in it; where the mask is black not one pixel changes.

        Args:
            drawn: The result for `box`, at any size.
        """
        left, top, right, bottom = self.box
        fitted = drawn.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        whole = self.original.copy()
        whole.paste(fitted, (left, top), self.mask.crop(self.box))
        return whole

    def marked_latents(self, size: tuple[int, int], unit: int) -> Image.Image:
        """What the network is to draw of `box`: every latent that has anything marked in it, however thin.

        Pipelines halve a mask at grey and look at one pixel of each latent: a line or a soft spot would be lost.

        Args:
            size: Width and height that `box` is drawn at.
            unit: Pixels of that size that a latent is wide.
        """
        marked = np.asarray(self.marked.crop(self.box)) > 0
        rows = [marked[first:last].any(0) for first, last in _spans(len(marked), size[1], unit)]
        across = np.stack(rows)
        columns = [across[:, first:last].any(1) for first, last in _spans(marked.shape[1], size[0], unit)]
        drawn = np.stack(columns, axis=1).repeat(unit, 0).repeat(unit, 1)[: size[1], : size[0]]
        return Image.fromarray(np.where(drawn, np.uint8(255), np.uint8(0)))


def canvas_for_mask(
    image: Image.Image, mask: Image.Image, options: Inpaint, seed: int, shape: tuple[int, int]
) -> Canvas:
    """A canvas for inpainting.

    Args:
        image: RGB.
        mask: Any mode; lightness counts, white is drawn anew.
        options: Blur, padding, fill, inversion.
        seed: For the fill "noise".
        shape: Width and height that `box` will be drawn at, which give its proportions.

    Raises:
        MaskError: Another size than the picture's, or nothing to draw.
    """
    hard = lightness(image, mask, options)
    soft = hard.filter(ImageFilter.GaussianBlur(options.blur)) if options.blur else hard
    start = filled(image, hard, options.fill, seed)
    # Around all of the soft edge: a box that cut it would leave a seam.
    extent = soft.getbbox() if options.only_masked else None
    box = padded_box(extent, options.padding, shape, image.size) if extent else (0, 0, *image.size)
    return Canvas(image, start, _halved(hard), soft, box)


def lightness(image: Image.Image, mask: Image.Image, options: Inpaint) -> Image.Image:
    """A mask in mode L, the right way round.

    Raises:
        MaskError: Another size than the picture's, or nothing to draw.
    """
    if mask.size != image.size:
        raise MaskError(f"The mask is {_size(mask)} pixels, its picture {_size(image)}.")
    grey = mask.convert("L")
    hard = ImageOps.invert(grey) if options.invert else grey
    if np.asarray(hard).max() < HALF:
        raise MaskError(
            "The mask marks nothing to be drawn.",
            hint="White parts are drawn anew; with invert, black parts.",
        )
    return hard


def see_beyond(beyond: Outpaint) -> None:
    """See that a picture is drawn on at all.

    Raises:
        MaskError: No side is drawn out.
    """
    if beyond.left + beyond.right + beyond.top + beyond.bottom == 0:
        raise MaskError("Outpainting by no pixels on all sides.", hint="Give left, right, top or bottom.")


def canvas_for_outpainting(image: Image.Image, beyond: Outpaint, options: Inpaint, seed: int) -> Canvas:
    """A larger canvas with the picture in its place, its edges drawn out, and a mask over what is new.

    Raises:
        MaskError: No side is drawn out.
    """
    see_beyond(beyond)
    edges = ((beyond.top, beyond.bottom), (beyond.left, beyond.right), (0, 0))
    canvas = Image.fromarray(np.pad(np.asarray(image), edges, mode="edge"))
    mask = Image.new("L", canvas.size, 255)
    # The mask reaches a little into the picture, so that the seam is drawn anew and not merely covered.
    inner = [beyond.left, beyond.top, beyond.left + image.width, beyond.top + image.height]
    for side, (grown, inwards) in enumerate(
        [(beyond.left, 1), (beyond.top, 1), (beyond.right, -1), (beyond.bottom, -1)]
    ):
        inner[side] += inwards * min(options.blur * 2, 16) if grown else 0
    mask.paste(0, (inner[0], inner[1], max(inner[0], inner[2]), max(inner[1], inner[3])))
    how = "blur" if options.fill == "original" else options.fill
    start = filled(canvas, mask, how, seed)
    soft = mask.filter(ImageFilter.GaussianBlur(options.blur)) if options.blur else mask
    return Canvas(canvas, start, mask, soft, (0, 0, *canvas.size))


def filled(image: Image.Image, mask: Image.Image, how: str, seed: int) -> Image.Image:
    """The picture with its masked part left ("original"), filled from around it ("blur"), or made noise."""
    if how == "original":
        return image
    if how == "noise":
        random = np.random.default_rng(seed)
        new = Image.fromarray(random.integers(0, 256, (image.height, image.width, 3), dtype=np.uint8))
    else:
        new = spread(image, mask)
    return Image.composite(new, image, mask)


def spread(image: Image.Image, mask: Image.Image) -> Image.Image:
    """What lies around the mask, blurred into it from coarse to fine: near the edge the fine blur wins."""
    known = np.asarray(ImageOps.invert(mask), dtype=np.float32)[..., None] / np.float32(255)
    pixels = np.asarray(image, dtype=np.float32)
    mean = (pixels * known).sum((0, 1)) / max(1.0, float(known.sum()))
    out = np.broadcast_to(mean, pixels.shape).copy()
    radius = max(image.size) / 2
    while radius >= 1:
        weight = _blur(known, radius)
        colour = _blur(pixels * known, radius) / np.maximum(weight, 1e-4)
        share = np.clip(weight * 4, 0, 1)
        out = out * (1 - share) + np.clip(colour, 0, 255) * share
        radius /= 2
    return Image.fromarray(out.round().astype(np.uint8))


def padded_box(extent: Box, padding: int, shape: tuple[int, int], size: tuple[int, int]) -> Box:
    """The masked part with some of its surroundings, in the proportions it will be drawn at, inside the picture.

    Args:
        extent: Where the mask is, with its soft edge.
        padding: Pixels on every side.
        shape: Width and height to be drawn at; only their ratio counts.
        size: Width and height of the picture.
    """
    width = min(size[0], extent[2] - extent[0] + 2 * padding)
    height = min(size[1], extent[3] - extent[1] + 2 * padding)
    ratio = shape[0] / shape[1]
    if width / height < ratio:
        width = min(size[0], round(height * ratio))
    else:
        height = min(size[1], round(width / ratio))
    left = _fit((extent[0] + extent[2] - width) // 2, width, size[0])
    top = _fit((extent[1] + extent[3] - height) // 2, height, size[1])
    return left, top, left + width, top + height


def _fit(start: int, length: int, available: int) -> int:
    return max(0, min(start, available - length))


def _blur(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    side = 2 * round(radius) + 1
    return np.asarray(uniform_filter(values, (side, side, 1), mode="nearest"), dtype=np.float32)


def _spans(length: int, drawn: int, unit: int) -> list[tuple[int, int]]:
    """The pixels that touch each latent, first and last, where `length` of them are drawn as `drawn`."""
    edges = np.arange(0, drawn, unit)
    first = edges * length // drawn
    last = -(-np.minimum(edges + unit, drawn) * length // drawn)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _halved(hard: Image.Image) -> Image.Image:
    return hard.point(lambda value: 255 if value >= HALF else 0)


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
