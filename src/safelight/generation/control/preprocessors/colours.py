"""Preprocessors that change each pixel by itself: grey, invert, threshold, and brightness for recolouring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from safelight.generation.control.preprocessors.filters import brightness, to_bytes
from safelight.generation.control.preprocessors.preprocessor import (
    Parameters,
    Pixels,
    PreprocessContext,
    Preprocessor,
)
from safelight.plugins import Registry, hookimpl

_LUMINANCE = (0.2126729, 0.7151522, 0.0721750)
"""Weights of linear red, green and blue in the luminance of sRGB, by IEC 61966-2-1."""
_LINEAR_BELOW, _CUBE_FACTOR = 216 / 24389, 24389 / 27
"""Of CIE L*: below this luminance it is linear, with this slope."""


class NoParameters(Parameters):
    """There is nothing to choose."""


class ThresholdParameters(Parameters):
    """Parameters of the threshold."""

    threshold: int = Field(127, ge=0, le=255, description="White where red, green and blue are all above it.")


class RecolorParameters(Parameters):
    """Parameters of recolouring."""

    gamma: float = Field(
        1.0,
        ge=0.1,
        le=2,
        allow_inf_nan=False,
        description="Exponent of the brightness: below 1 it gets lighter, above 1 darker.",
    )


def grey(pixels: Pixels, _parameters: NoParameters, _context: PreprocessContext) -> NDArray[np.uint8]:
    """The brightness by ITU-R BT.601."""
    return to_bytes(brightness(pixels))


def invert(pixels: Pixels, _parameters: NoParameters, _context: PreprocessContext) -> NDArray[np.uint8]:
    """The negative."""
    return 255 - pixels


def threshold(pixels: Pixels, parameters: ThresholdParameters, _: PreprocessContext) -> NDArray[np.uint8]:
    """White where the darkest channel is above the threshold, black elsewhere."""
    return np.where(pixels.min(axis=2) > parameters.threshold, np.uint8(255), np.uint8(0))


def recolor_luminance(
    pixels: Pixels, parameters: RecolorParameters, _: PreprocessContext
) -> NDArray[np.uint8]:
    """The lightness L* of CIELAB, as it looks to the eye."""
    codes = np.arange(256) / 255
    linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4).astype(np.float32)
    luminance = linear[pixels] @ np.array(_LUMINANCE, np.float32)
    curved = 116 * np.cbrt(luminance) - 16
    lightness = np.where(luminance > _LINEAR_BELOW, curved, _CUBE_FACTOR * luminance) / 100
    return _with_gamma(lightness.astype(np.float32), parameters.gamma)


def recolor_intensity(
    pixels: Pixels, parameters: RecolorParameters, _: PreprocessContext
) -> NDArray[np.uint8]:
    """The brightest channel: the value of HSV."""
    return _with_gamma(pixels.max(axis=2).astype(np.float32) / 255, parameters.gamma)


def _with_gamma(values: NDArray[np.float32], gamma: float) -> NDArray[np.uint8]:
    return to_bytes(np.clip(values, 0, 1) ** np.float32(gamma) * 255)


@hookimpl
def register_preprocessors(registry: Registry[Preprocessor]) -> None:
    """Register grey, invert, threshold and recolouring."""
    for each in (
        Preprocessor(
            "grey", "Grey", "The picture without colours.", "Recolor", NoParameters, grey, ("gray",)
        ),
        Preprocessor(
            "invert",
            "Invert",
            "The negative: black lines on white become white lines on black.",
            "All",
            NoParameters,
            invert,
            aliases=("invert (from white bg & black line)",),
        ),
        Preprocessor(
            "threshold",
            "Threshold",
            "White where the picture is bright, black elsewhere.",
            "All",
            ThresholdParameters,
            threshold,
            sliders=("threshold",),
        ),
        Preprocessor(
            "recolor_luminance",
            "Recolour by lightness",
            "The lightness that the eye sees, for models that add colours.",
            "Recolor",
            RecolorParameters,
            recolor_luminance,
            sliders=("gamma",),
        ),
        Preprocessor(
            "recolor_intensity",
            "Recolour by intensity",
            "The brightest of red, green and blue, for models that add colours.",
            "Recolor",
            RecolorParameters,
            recolor_intensity,
            sliders=("gamma",),
        ),
    ):
        registry.register(each.name, each)
