"""What is known of each model family: one module for each architecture, one item for each variant.

A variant is a family with other defaults or fewer modes, a distilled one for example. Every item was checked against
diffusers 0.42: ``tests/models/test_families.py`` compares each field with the pipelines' signatures and runs each item
with a checkpoint of random weights.
"""

from __future__ import annotations

from safelight.errors import CheckpointFamilyError
from safelight.models.families.family import IMAGE, INPAINT, TEXT, Family, PerturbedAttention
from safelight.plugins import Registry

__all__ = ["FAMILIES", "IMAGE", "INPAINT", "TEXT", "Family", "PerturbedAttention"]

_ARCHITECTURES = (
    "sd1",
    "sd2",
    "sdxl",
    "kolors",
    "sd3",
    "flux",
    "flux2",
    "qwen_image",
    "qwen_image21",
    "z_image",
    "sana",
    "pixart",
    "lumina2",
    "auraflow",
    "chroma",
    "cogview4",
    "hunyuan_dit",
    "hidream",
    "krea2",
    "ernie_image",
    "kandinsky5",
    "hunyuan_image",
)

FAMILIES = Registry[Family](
    "family",
    "register_families",
    CheckpointFamilyError,
    tuple(f"{__name__}.{name}" for name in _ARCHITECTURES),
    name_field="name",
)
"""Every family and variant by name."""
