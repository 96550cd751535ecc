"""Less detail, or another arrangement: tile, blur, colour grid, shuffle."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy.ndimage import map_coordinates

from safelight.generation.control.preprocessors.filters import blurred, to_bytes
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

_FLOW_CELL = 256
"""Distance between two random displacements of a shuffle, in pixels."""
MAX_SEED = 2**32 - 1


class TileParameters(Parameters):
    """Parameters of tiles."""

    downsampling: float = Field(
        1.0, ge=1, le=8, allow_inf_nan=False, description="Detail smaller than so many pixels is lost."
    )


class BlurParameters(Parameters):
    """Parameters of the blur."""

    sigma: float = Field(
        9.0, ge=0.01, le=64, allow_inf_nan=False, description="Its standard deviation, in pixels."
    )


class ColorGridParameters(Parameters):
    """Parameters of the colour grid."""

    cell: int = Field(64, ge=8, le=256, description="Side of a square, in pixels.")


class ShuffleParameters(Parameters):
    """Parameters of the shuffle."""

    seed: int = Field(0, ge=0, le=MAX_SEED, description="The same seed gives the same arrangement.")


def tile(pixels: Pixels, parameters: TileParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """The picture with less detail: averaged to fewer pixels, and enlarged again."""
    height, width = pixels.shape[:2]
    size = max(1, int(width / parameters.downsampling)), max(1, int(height / parameters.downsampling))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))


def blur(pixels: Pixels, parameters: BlurParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """The picture, blurred by a Gaussian."""
    return to_bytes(blurred(pixels, parameters.sigma))


def color_grid(pixels: Pixels, parameters: ColorGridParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """Squares of their mean colour."""
    height, width = pixels.shape[:2]
    size = math.ceil(width / parameters.cell), math.ceil(height / parameters.cell)
    grid = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    return np.asarray(grid.resize((width, height), Image.Resampling.NEAREST))


def shuffle(pixels: Pixels, parameters: ShuffleParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """The colours of the picture, at places that a smooth random field names."""
    height, width = pixels.shape[:2]
    random = np.random.default_rng(parameters.seed)
    columns = _smooth_noise(random, height, width) * (width - 1)
    rows = _smooth_noise(random, height, width) * (height - 1)
    moved = [
        map_coordinates(pixels[..., channel].astype(np.float32), (rows, columns), order=1, mode="nearest")
        for channel in range(3)
    ]
    return to_bytes(np.stack(moved, axis=2))


def _smooth_noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Random numbers that change smoothly, float32 [height, width], the smallest 0 and the largest 1."""
    cells = random.random((height // _FLOW_CELL + 4, width // _FLOW_CELL + 4))
    rows = 1 + np.arange(height)[:, None] / _FLOW_CELL
    columns = 1 + np.arange(width)[None, :] / _FLOW_CELL
    noise = map_coordinates(cells, np.broadcast_arrays(rows, columns), order=3, mode="nearest")
    spread = float(np.ptp(noise)) or 1.0
    found: NDArray[np.float32] = ((noise - noise.min()) / spread).astype(np.float32)
    return found


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register tile, blur, colour grid and shuffle."""
    for each in (
        Preprocessor(
            "tile",
            "Tile",
            "The picture itself, with as much detail as is asked for.",
            "Tile",
            TileParameters,
            tile,
            aliases=("tile_resample",),
            sliders=("downsampling",),
        ),
        Preprocessor(
            "blur",
            "Blur",
            "The picture, blurred.",
            "Blur",
            BlurParameters,
            blur,
            aliases=("blur_gaussian",),
            sliders=("sigma",),
        ),
        Preprocessor(
            "color_grid",
            "Colour grid",
            "Squares of their mean colour.",
            "T2I-Adapter",
            ColorGridParameters,
            color_grid,
            aliases=("t2ia_color_grid", "color"),
        ),
        Preprocessor(
            "shuffle",
            "Shuffle",
            "The colours of the picture in another arrangement.",
            "Shuffle",
            ShuffleParameters,
            shuffle,
        ),
    ):
        registry.register(each.name, each)
