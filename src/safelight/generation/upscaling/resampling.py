"""Upscalers without a network: Pillow's interpolation, applied to sRGB values without linearization."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from PIL import Image

from safelight.generation.upscaling.upscaler import MAX_PIXELS, Progress, Stop, check_stop, target_size

RESAMPLING = MappingProxyType(
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
        name: A key of ``RESAMPLING``.
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
        on_progress: Progress | None = None,
        should_stop: Stop | None = None,
    ) -> Image.Image:
        """See ``Upscaler.upscale``."""
        size = target_size(image, factor, max_pixels)
        check_stop(should_stop)
        result = image.resize(size, RESAMPLING[self.name])
        if on_progress is not None:
            on_progress(1.0)
        return result
