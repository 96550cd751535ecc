"""Upscaling images by interpolation or by a super-resolution network."""

from safelight.generation.upscaling.registry import (
    UpscalerFile,
    UpscalerInfo,
    find_upscaler,
    find_upscalers,
    load_upscaler,
)
from safelight.generation.upscaling.resampling import ResamplingUpscaler
from safelight.generation.upscaling.upscaler import UPSCALERS, Upscaler

__all__ = [
    "UPSCALERS",
    "ResamplingUpscaler",
    "Upscaler",
    "UpscalerFile",
    "UpscalerInfo",
    "find_upscaler",
    "find_upscalers",
    "load_upscaler",
]
