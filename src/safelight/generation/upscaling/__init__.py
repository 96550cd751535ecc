"""Upscaling images by interpolation or by a super-resolution network."""

from safelight.generation.upscaling.finding import (
    UpscalerFile,
    UpscalerInfo,
    find_upscaler,
    find_upscalers,
    load_upscaler,
)
from safelight.generation.upscaling.resampling import RESAMPLING, ResamplingUpscaler
from safelight.generation.upscaling.upscaler import Upscaler

__all__ = [
    "RESAMPLING",
    "ResamplingUpscaler",
    "Upscaler",
    "UpscalerFile",
    "UpscalerInfo",
    "find_upscaler",
    "find_upscalers",
    "load_upscaler",
]
