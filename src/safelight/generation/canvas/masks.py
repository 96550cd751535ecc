"""Masks and canvases of inpainting and outpainting: prepare the mask and initial image, and composite the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy.ndimage import uniform_filter

from safelight.errors import MaskError
from safelight.generation.request import Inpaint, Outpaint

MASK_THRESHOLD = 128
"""Lightness, of 255, from which a mask pixel counts as marked."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are exclusive."""


@dataclass(frozen=True)
class Canvas:
    """An image of which a part is to be generated anew.

    Args:
        original: The image that the result is composited onto, RGB.
        init_image: The initial image for denoising, RGB: the original with the masked part filled.
        hard_mask: The hard mask, mode L: 255 where pixels are generated and 0 elsewhere.
        soft_mask: The same mask with a soft edge, used to composite the result; with soft inpainting each pixel's
            strength.
        box: The part of the image that is passed to the network.
        is_soft: Whether the network changes each pixel as much as its strength says.
    """

    original: Image.Image
    init_image: Image.Image
    hard_mask: Image.Image
    soft_mask: Image.Image
    box: Box
    is_soft: bool = False

    def composite(self, generated: Image.Image, steps: int = 1) -> Image.Image:
        """Composite the generated part onto the original; where the mask is black no pixel changes.

        With soft inpainting the greys were used to generate it, so they are no opacities: it is opaque where the
        strength is that of a step or more, and below, where the network changed nothing, it fades into the original.

        Args:
            generated: The generated image for ``box``, at any size.
            steps: Steps that the network ran.
        """
        left, top, right, bottom = self.box
        fitted = generated.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        opacity = self.soft_mask.crop(self.box)
        if self.is_soft:
            opacity = opacity.point([min(value * steps, 255) for value in range(256)])
        whole = self.original.copy()
        whole.paste(fitted, (left, top), opacity)
        return whole

    def latent_mask(self, size: tuple[int, int], latent_size: int) -> Image.Image:
        """Return the mask for the pipeline: it marks every latent that contains any marked pixel of ``box``.

        Pipelines threshold a mask at grey and sample one pixel per latent, so a thin line or a soft spot would be lost.
        With soft inpainting it has each latent's strength: the mean of its pixels.

        Args:
            size: Width and height at which ``box`` is generated.
            latent_size: Width of a latent, in pixels of that size.
        """
        if self.is_soft:
            strengths = np.asarray(self.soft_mask.crop(self.box), dtype=np.float32)
            means = _of_latents(strengths, size, latent_size, np.mean)
            # No strength of a latent that is touched at all is rounded to none.
            return Image.fromarray(np.where(means > 0, means.round().clip(1, 255), 0).astype(np.uint8))
        marked = np.asarray(self.hard_mask.crop(self.box)) > 0
        drawn = _of_latents(marked, size, latent_size, np.any)
        return Image.fromarray(np.where(drawn, np.uint8(255), np.uint8(0)))


def inpainting_canvas(
    image: Image.Image, mask: Image.Image, options: Inpaint, seed: int, shape: tuple[int, int]
) -> Canvas:
    """Return a canvas for inpainting.

    Args:
        image: RGB.
        mask: Any mode; only its lightness is used, and white pixels are generated.
        options: Blur, padding, fill and inversion.
        seed: Seed of the fill "noise".
        shape: Width and height at which ``box`` will be generated; they set its aspect ratio.

    Raises:
        MaskError: The mask has another size than the image, or marks nothing.
    """
    hard = prepare_mask(image, mask, options)
    soft = hard.filter(ImageFilter.GaussianBlur(options.blur)) if options.blur else hard
    start = fill_masked(image, hard, options.fill, seed)
    # The box includes the whole soft edge: cutting it would leave a visible seam.
    extent = soft.getbbox() if options.only_masked else None
    box = padded_box(extent, options.padding, shape, image.size) if extent else (0, 0, *image.size)
    return Canvas(image, start, _binarize(hard), soft, box, options.soft)


def prepare_mask(image: Image.Image, mask: Image.Image, options: Inpaint) -> Image.Image:
    """Return the mask in mode L, inverted if the options say so.

    Raises:
        MaskError: The mask has another size than the image, or marks nothing.
    """
    if mask.size != image.size:
        raise MaskError(f"The mask is {_format_size(mask)} pixels, its picture {_format_size(image)}.")
    grey = mask.convert("L")
    hard = ImageOps.invert(grey) if options.invert else grey
    if np.asarray(hard).max() < (1 if options.soft else MASK_THRESHOLD):
        raise MaskError(
            "The mask marks nothing to generate.",
            hint="White parts are generated anew; with invert, black parts.",
        )
    return hard


def check_outpaint(outpaint: Outpaint) -> None:
    """Check that outpainting extends at least one side.

    Raises:
        MaskError: No side is extended.
    """
    if outpaint.left + outpaint.right + outpaint.top + outpaint.bottom == 0:
        raise MaskError("Outpainting by no pixels on all sides.", hint="Give left, right, top or bottom.")


def outpainting_canvas(image: Image.Image, outpaint: Outpaint, options: Inpaint, seed: int) -> Canvas:
    """Return a larger canvas: the image in place, its edge pixels repeated outwards, and a mask over the new area.

    Raises:
        MaskError: No side is extended.
    """
    check_outpaint(outpaint)
    edges = ((outpaint.top, outpaint.bottom), (outpaint.left, outpaint.right), (0, 0))
    canvas = Image.fromarray(np.pad(np.asarray(image), edges, mode="edge"))
    mask = Image.new("L", canvas.size, 255)
    # The mask reaches a little into the image, so that the seam itself is generated anew.
    inner = [outpaint.left, outpaint.top, outpaint.left + image.width, outpaint.top + image.height]
    for side, (grown, inwards) in enumerate(
        [(outpaint.left, 1), (outpaint.top, 1), (outpaint.right, -1), (outpaint.bottom, -1)]
    ):
        inner[side] += inwards * min(options.blur * 2, 16) if grown else 0
    mask.paste(0, (inner[0], inner[1], max(inner[0], inner[2]), max(inner[1], inner[3])))
    how = "blur" if options.fill == "original" else options.fill
    start = fill_masked(canvas, mask, how, seed)
    soft = mask.filter(ImageFilter.GaussianBlur(options.blur)) if options.blur else mask
    return Canvas(canvas, start, mask, soft, (0, 0, *canvas.size), options.soft)


def fill_masked(image: Image.Image, mask: Image.Image, fill: str, seed: int) -> Image.Image:
    """Return the image with its masked part kept ("original"), filled from its surroundings ("blur"), or noise."""
    if fill == "original":
        return image
    if fill == "noise":
        random = np.random.default_rng(seed)
        new = Image.fromarray(random.integers(0, 256, (image.height, image.width, 3), dtype=np.uint8))
    else:
        new = blur_fill(image, mask)
    return Image.composite(new, image, mask)


def blur_fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Fill the mask by blurring its surroundings into it, coarse to fine; near the edge the fine blur dominates."""
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
    """Return the box of the masked part with padding, in the aspect ratio of generation and inside the image.

    Args:
        extent: Bounding box of the mask with its soft edge.
        padding: Pixels to add on every side.
        shape: Width and height of generation; only their ratio is used.
        size: Width and height of the image.
    """
    width = min(size[0], extent[2] - extent[0] + 2 * padding)
    height = min(size[1], extent[3] - extent[1] + 2 * padding)
    ratio = shape[0] / shape[1]
    if width / height < ratio:
        width = min(size[0], round(height * ratio))
    else:
        height = min(size[1], round(width / ratio))
    left = _clamp_start((extent[0] + extent[2] - width) // 2, width, size[0])
    top = _clamp_start((extent[1] + extent[3] - height) // 2, height, size[1])
    return left, top, left + width, top + height


def _clamp_start(start: int, length: int, available: int) -> int:
    return max(0, min(start, available - length))


def _blur(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    side = 2 * round(radius) + 1
    return np.asarray(uniform_filter(values, (side, side, 1), mode="nearest"), dtype=np.float32)


def _of_latents(
    values: NDArray[Any], size: tuple[int, int], latent_size: int, join: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    """Join the values of each latent's pixels to one.

    Args:
        values: [height, width], of what is generated.
        size: Width and height at which it is generated.
        latent_size: Width of a latent, in pixels of that size.
        join: Joins values along an axis, as ``np.any`` does.

    Returns:
        [height, width] of ``size``, with the same value for all pixels of a latent.
    """
    rows = [
        join(values[first:last], axis=0) for first, last in _latent_spans(len(values), size[1], latent_size)
    ]
    across = np.stack(rows)
    columns = [
        join(across[:, first:last], axis=1)
        for first, last in _latent_spans(values.shape[1], size[0], latent_size)
    ]
    return np.stack(columns, axis=1).repeat(latent_size, 0).repeat(latent_size, 1)[: size[1], : size[0]]


def _latent_spans(length: int, generated_length: int, latent_size: int) -> list[tuple[int, int]]:
    """Return the pixel range of each latent, if ``length`` pixels are generated as ``generated_length`` pixels."""
    edges = np.arange(0, generated_length, latent_size)
    first = edges * length // generated_length
    last = -(-np.minimum(edges + latent_size, generated_length) * length // generated_length)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _binarize(hard: Image.Image) -> Image.Image:
    return hard.point(lambda value: 255 if value >= MASK_THRESHOLD else 0)


def _format_size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
