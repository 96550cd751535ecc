"""Checkpoints of a few hundred kilobytes with random weights: one builder for each family and variant.

They have the real classes, layouts and file names, so that code that works with them works with the real ones, apart
from image quality.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import diffusers
import torch
import transformers
from tests.tiny import diffusion_transformers, newer_transformers, stable_diffusion

TINY = stable_diffusion.BUILDERS | diffusion_transformers.BUILDERS | newer_transformers.BUILDERS
"""Builders by the names of ``safelight.models.families.FAMILIES``; and sd2-base, which predicts noise, not velocity."""


def build_tiny(name: str, folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a tiny checkpoint as a diffusers folder.

    Args:
        name: One of ``TINY``.
        folder: The destination.
        seed: The seed of the weights.
        dtype: The precision in which they are stored.

    Returns:
        The folder.
    """
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity(logging.ERROR)
        library.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(seed)
        pipeline = TINY[name]()
    pipeline.to(dtype=dtype).save_pretrained(folder, safe_serialization=True)
    return folder
