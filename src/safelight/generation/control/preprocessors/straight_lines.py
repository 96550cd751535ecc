"""Straight lines by M-LSD, for rooms and buildings.

Gu et al., "Towards light-weight and real-time line segment detection", 2021. The network gives each place the
probability that a line's middle is there, and the line's two ends relative to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field
from scipy.ndimage import maximum_filter

from safelight.generation.control.preprocessors.network import NetworkFile
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

MLSD = NetworkFile(
    title="M-LSD",
    package="safelight.models",
    stem="preprocessors/mlsd",
    graph_digest="c9e04d5c7a6bfb8478571b03d1486cb486e5b61e90f45b3aeaf8b5dd8f2ec7c9",
    weights_digest="51bb539e8302cbaf0ff9d06ca9ac631cb4bf7e479e4ee4f6b1aaca08a58ef1c3",
    nbytes=20_000_000,
)
_SIDE, _MAP_SIDE = 512, 256
"""Sides of the network's input and of its output, in pixels."""
_MOST_LINES = 200
_WINDOW = 5
"""Of several middles so close to each other, only the most probable counts."""


class StraightLinesParameters(Parameters):
    """Parameters of straight lines."""

    score: float = Field(
        0.1, ge=0.01, le=1, allow_inf_nan=False, description="The least probability of a line."
    )
    distance: float = Field(
        0.1,
        ge=0.01,
        le=20,
        allow_inf_nan=False,
        description="The least length of a line, in 256ths of the picture's sides.",
    )


def straight_lines(
    pixels: Pixels, parameters: StraightLinesParameters, context: PreprocessContext
) -> NDArray[np.uint8]:
    """Lines one pixel wide, white on black."""
    height, width = pixels.shape[:2]
    square = np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    with MLSD.lease(context) as network:
        outputs = network.run(square, context)
    lines = find_lines(outputs["scores"][0, ..., 0], outputs["offsets"][0], parameters)
    drawing = Image.new("L", (width, height))
    draw = ImageDraw.Draw(drawing)
    for line in lines * np.array([width, height, width, height]) / _MAP_SIDE:
        draw.line(tuple(line.tolist()), fill=255)
    return np.asarray(drawing)


def find_lines(
    scores: NDArray[np.float32], offsets: NDArray[np.float32], parameters: StraightLinesParameters
) -> NDArray[np.float32]:
    """The lines that the network found, the most probable first.

    Args:
        scores: [256, 256]: the probability that the middle of a line is there.
        offsets: [256, 256, 4]: from there to both ends, x and y of each.
        parameters: What counts as a line.

    Returns:
        [lines, 4]: x and y of both ends, in pixels of the map.
    """
    is_middle = (scores == maximum_filter(scores, _WINDOW)) & (scores > parameters.score)
    lengths = np.hypot(offsets[..., 0] - offsets[..., 2], offsets[..., 1] - offsets[..., 3])
    rows, columns = np.nonzero(is_middle & (lengths > parameters.distance))
    best = np.argsort(-scores[rows, columns], kind="stable")[:_MOST_LINES]
    rows, columns = rows[best], columns[best]
    found: NDArray[np.float32] = np.stack([columns, rows, columns, rows], axis=1) + offsets[rows, columns]
    return found


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register straight lines."""
    registry.register(
        "straight_lines",
        Preprocessor(
            "straight_lines",
            "Straight lines",
            "The straight lines of rooms and buildings by the network M-LSD, white on black.",
            "MLSD",
            StraightLinesParameters,
            straight_lines,
            aliases=("mlsd",),
            sliders=("score", "distance"),
        ),
    )
