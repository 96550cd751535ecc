"""The probe images, on which backends are timed and compared with the reference: samples and synthetic gradients."""

from __future__ import annotations

import numpy as np
from PIL import Image

from safelight.images import decode
from safelight.samples import sample_photographs

_SIDE = 384


def probe_images() -> list[Image.Image]:
    """Return two dozen harmless images: the sample photographs, and gradients with noise.

    The gradients are needed because the photographs all have similar scores; flat and skin-coloured areas do not.
    """
    generator = np.random.default_rng(20261122)
    return [decode(path).image for path in sample_photographs()] + [
        _noisy_gradient(generator, skin=i % 2 == 1) for i in range(18)
    ]


def _noisy_gradient(generator: np.random.Generator, *, skin: bool) -> Image.Image:
    """Return a smooth blend of a few random colours with a little noise."""
    cells = int(generator.integers(1, 7))
    centre, spread = ((200, 150, 120), 40) if skin else ((128, 128, 128), 75)
    colours = np.clip(generator.normal(centre, spread, (cells, cells, 3)), 0, 255).astype(np.uint8)
    smooth = Image.fromarray(colours).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.float32) + generator.normal(0, generator.uniform(0, 12), (_SIDE, _SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
