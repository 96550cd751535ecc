"""Which families' checkpoints an adapter is for; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.models.checkpoints.layouts import layout_of
from safelight.models.families import Family

_SHARED: Mapping[str, frozenset[str]] = {"flux": frozenset({"chroma"}), "sdxl": frozenset({"kolors"})}
"""Families whose adapters also fit others, as far as their layers do."""


def fits_family(found: str, family: Family) -> bool:
    """Whether an adapter of a family, as its header tells, is for a checkpoint's family.

    Args:
        found: The family that the adapter's file tells.
        family: The checkpoint's.
    """
    layout = layout_of(family.name)
    name = layout.denoiser.name if layout else family.key
    variant = name.startswith(f"{found}-") and name != "sdxl-refiner"
    return name == found or variant or name in _SHARED.get(found, ())
