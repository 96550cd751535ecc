"""Upscalers without a network: Pillow's interpolation, applied to sRGB values without linearization."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from PIL import Image

from safelight.generation.upscaling.upscaler import (
    MAX_PIXELS,
    ProgressCallback,
    StopCallback,
    Upscaler,
    check_not_stopped,
    target_size,
)
from safelight.plugins import Registry, hookimpl

RESAMPLING_FILTERS = MappingProxyType(
    {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
)
"""Pillow's filters by their names in requests."""


@dataclass(frozen=True)
class ResamplingUpscaler:
    """Interpolation; see ``Upscaler``.

    Args:
        name: A key of ``RESAMPLING_FILTERS``.
    """

    name: str
    factor: None = field(default=None, init=False)
    digest: None = field(default=None, init=False)

    def upscale(
        self,
        image: Image.Image,
        factor: float,
        *,
        max_pixels: int = MAX_PIXELS,
        on_progress: ProgressCallback | None = None,
        should_stop: StopCallback | None = None,
    ) -> Image.Image:
        """See ``Upscaler.upscale``."""
        size = target_size(image, factor, max_pixels)
        check_not_stopped(should_stop)
        result = image.resize(size, RESAMPLING_FILTERS[self.name])
        if on_progress is not None:
            on_progress(1.0)
        return result


@hookimpl
def register_upscalers(registry: Registry[Upscaler]) -> None:
    """Register Pillow's filters."""
    for name in RESAMPLING_FILTERS:
        registry.register(name, ResamplingUpscaler(name))
