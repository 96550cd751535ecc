"""Preprocessors: from a photograph to the edges, lines, poses or colours that steer a generation."""

from safelight.generation.control.preprocessors.preprocessor import (
    PREPROCESSORS,
    Parameters,
    PreprocessContext,
    Preprocessor,
    find_preprocessor,
)
from safelight.generation.control.preprocessors.resolution import pixel_perfect_resolution

__all__ = [
    "PREPROCESSORS",
    "Parameters",
    "PreprocessContext",
    "Preprocessor",
    "find_preprocessor",
    "pixel_perfect_resolution",
]
