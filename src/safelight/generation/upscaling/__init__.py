"""Upscaling images by interpolation or by a super-resolution network."""

from safelight.generation.upscaling.registry import (
    UpscalerFile,
    UpscalerInfo,
    find_upscaler,
    find_upscalers,
    load_upscaler,
)
from safelight.generation.upscaling.resampling import RESAMPLING_FILTERS, ResamplingUpscaler
from safelight.generation.upscaling.upscaler import Upscaler

__all__ = [
    "RESAMPLING_FILTERS",
    "ResamplingUpscaler",
    "Upscaler",
    "UpscalerFile",
    "UpscalerInfo",
    "find_upscaler",
    "find_upscalers",
    "load_upscaler",
]
