"""Lines and scribbles by differences of Gaussians, without a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from safelight.generation.control.preprocessors.filters import blurred, to_bytes
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

_FINE, _COARSE = 0.5, 5.0
"""Standard deviations of the two Gaussians, in pixels."""
_LINE_LEVEL, _LEAST_LEVEL = 127, 16
"""The brightness that a line of median strength gets, and the strength that is brought there at least."""


class ScribbleParameters(Parameters):
    """Parameters of scribbles."""

    threshold: int = Field(
        32,
        ge=1,
        le=64,
        description="Contrast from which a pixel is part of a line; larger gives fewer lines.",
    )


class LineArtParameters(Parameters):
    """Parameters of line art."""

    sigma: float = Field(
        6.0,
        ge=0.5,
        le=32,
        allow_inf_nan=False,
        description="Standard deviation of the surroundings that a pixel is compared with, in pixels.",
    )
    threshold: int = Field(
        8,
        ge=0,
        le=127,
        description="Darker by so much than its surroundings, a pixel counts as part of a line.",
    )


def scribble(pixels: Pixels, parameters: ScribbleParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """Bold lines, white on black, where all channels are darker than their surroundings."""
    darker = (blurred(pixels, _COARSE) - blurred(pixels, _FINE)).min(axis=2)
    return np.where(2 * darker > parameters.threshold, np.uint8(255), np.uint8(0))


def line_art(pixels: Pixels, parameters: LineArtParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """Soft lines, bright on black, where all channels are darker than their surroundings."""
    strength = np.clip((blurred(pixels, parameters.sigma) - pixels).min(axis=2), 0, 255)
    lines = strength[strength > parameters.threshold]
    level = max(_LEAST_LEVEL, float(np.median(lines))) if lines.size else _LEAST_LEVEL
    return to_bytes(strength / level * _LINE_LEVEL)


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register scribbles and line art."""
    for each in (
        Preprocessor(
            "scribble",
            "Scribble",
            "Bold lines, white on black, where the picture is darker than around, by a difference of Gaussians (XDoG).",
            "Scribble",
            ScribbleParameters,
            scribble,
            aliases=("scribble_xdog",),
            sliders=("threshold",),
        ),
        Preprocessor(
            "line_art",
            "Line art",
            "Soft lines, bright on black, where the picture is darker than around.",
            "Lineart",
            LineArtParameters,
            line_art,
            aliases=("lineart_standard", "lineart_standard (from white bg & black line)"),
            sliders=("sigma", "threshold"),
        ),
    ):
        registry.register(each.name, each)
