"""What is known of each model family: one module for each architecture, one entry for each variant.

A variant is a family with other defaults or fewer modes, a distilled one for example. Every entry was checked against
diffusers 0.42: ``tests/models/test_families.py`` compares each field with the pipelines' signatures and runs each entry
with a checkpoint of random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from safelight.errors import CheckpointFamilyError
from safelight.models.families import (
    auraflow,
    chroma,
    cogview4,
    flux,
    flux2,
    hunyuan_dit,
    kolors,
    lumina2,
    pixart,
    qwen_image,
    sana,
    sd1,
    sd2,
    sd3,
    sdxl,
    z_image,
)
from safelight.models.families.family import IMAGE, INPAINT, TEXT, Family

__all__ = ["FAMILIES", "IMAGE", "INPAINT", "STARTER", "TEXT", "Family", "get_family"]

ARCHITECTURES = (
    sd1,
    sd2,
    sdxl,
    kolors,
    sd3,
    flux,
    flux2,
    qwen_image,
    z_image,
    sana,
    pixart,
    lumina2,
    auraflow,
    chroma,
    cogview4,
    hunyuan_dit,
)
"""One for each architecture, in the order in which families are listed."""

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {entry.name: entry for module in ARCHITECTURES for entry in module.ENTRIES}
)
"""Every family and variant by name."""

STARTER = sd1.STARTER


def get_family(name: str) -> Family:
    """An entry of the table.

    Raises:
        CheckpointFamilyError: There is none of that name.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    raise CheckpointFamilyError(f"There is no family {name!r}.", hint=f"There are: {', '.join(FAMILIES)}.")
