"""Soft edges by HED: how likely each pixel is on an edge that a person would draw.

Xie and Tu, "Holistically-nested edge detection", 2015.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from safelight.generation.control.preprocessors.filters import to_bytes
from safelight.generation.control.preprocessors.network import NetworkFile
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

EXTRA = "soft-edge"
HED = NetworkFile(
    title="HED",
    package="safelight_hed",
    stem="hed",
    graph_digest="740553426736ad087ff1e97ecf951cd3f535c9204ed8b5489f0b62f7458ef8bb",
    weights_digest="cfd738ea1d4e1bea7d87bd9c246e20efa944513bb7dd49949ad3696302e0c36b",
    nbytes=60_000_000,
    extra=EXTRA,
)
_BYTES_PER_PIXEL = 3 * 64 * 4
"""The three largest tensors at a time: 64 channels of floats at full size."""
_STEPS = 3
"""Levels above black of a result in few levels."""
_LEAST = 32
"""The shortest side that the network gets: it halves the picture four times."""


class SoftEdgeParameters(Parameters):
    """Parameters of soft edges."""

    safe: bool = Field(
        False,
        description="Only four levels of grey, so that a model does not read details from faint shades.",
    )


def soft_edge(
    pixels: Pixels, parameters: SoftEdgeParameters, context: PreprocessContext
) -> NDArray[np.uint8]:
    """The probability of an edge, white on black."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, max(0, _LEAST - height)), (0, max(0, _LEAST - width)), (0, 0)), mode="edge")
    with HED.lease(context, room=padded.shape[0] * padded.shape[1] * _BYTES_PER_PIXEL) as network:
        edges = network.run(padded, context)["edges"][0, 0, :height, :width]
    if parameters.safe:
        return to_bytes(np.floor(edges * (_STEPS + 1)).clip(0, _STEPS) * (255 / _STEPS))
    return to_bytes(edges * 255)


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register soft edges."""
    registry.register(
        "soft_edge",
        Preprocessor(
            "soft_edge",
            "Soft edges",
            "The probability of an edge by the network HED, white on black.",
            "SoftEdge",
            SoftEdgeParameters,
            soft_edge,
            aliases=("softedge_hed", "hed"),
            extra=EXTRA,
            available=HED.is_installed,
            bytes_per_pixel=_BYTES_PER_PIXEL,
        ),
    )
