"""How networks and families are laid out in weights files: one module for each family.

A new family is one new module with a `FamilyLayout`, named in ``FAMILY_LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.models.checkpoints.layouts import (
    auraflow,
    chroma,
    cogview4,
    flux,
    flux2,
    hunyuan_dit,
    lumina2,
    pixart,
    qwen_image,
    sana,
    sd3,
    stable_diffusion,
    z_image,
)
from safelight.models.checkpoints.layouts.autoencoders import AUTOENCODERS
from safelight.models.checkpoints.layouts.layout import FamilyLayout, NetworkLayout, Role, Shapes, Slot
from safelight.models.checkpoints.layouts.text_encoders import TEXT_ENCODERS

__all__ = ["FAMILY_LAYOUTS", "NETWORKS", "FamilyLayout", "NetworkLayout", "Role", "Shapes", "Slot"]

FAMILY_LAYOUTS: tuple[FamilyLayout, ...] = (
    *stable_diffusion.LAYOUTS,
    chroma.LAYOUT,
    flux.LAYOUT,
    *flux2.LAYOUTS,
    sd3.LAYOUT,
    qwen_image.LAYOUT,
    z_image.LAYOUT,
    auraflow.LAYOUT,
    lumina2.LAYOUT,
    sana.LAYOUT,
    *pixart.LAYOUTS,
    hunyuan_dit.LAYOUT,
    cogview4.LAYOUT,
)
"""Every family; where several fit a denoiser, the first does."""

NETWORKS: Mapping[str, NetworkLayout] = {
    layout.name: layout
    for layout in (*AUTOENCODERS, *TEXT_ENCODERS, *(family.denoiser for family in FAMILY_LAYOUTS))
}
"""Every kind of network by name."""
