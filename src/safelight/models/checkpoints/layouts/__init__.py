"""How networks and families are laid out in weights files: one module for each family.

A new family is one new module with a `FamilyLayout`, named in ``FAMILY_LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.models.checkpoints.layouts import (
    auraflow,
    chroma,
    cogview4,
    ernie_image,
    flux,
    flux2,
    hidream,
    hunyuan_dit,
    hunyuan_image,
    kandinsky5,
    kolors,
    krea2,
    lumina2,
    pixart,
    qwen_image,
    qwen_image21,
    sana,
    sd3,
    stable_diffusion,
    z_image,
)
from safelight.models.checkpoints.layouts.autoencoders import AUTOENCODERS
from safelight.models.checkpoints.layouts.control_transformers import TRANSFORMER_CONTROLS
from safelight.models.checkpoints.layouts.controls import UNET_CONTROLS
from safelight.models.checkpoints.layouts.image_encoders import IMAGE_ENCODERS
from safelight.models.checkpoints.layouts.layout import FamilyLayout, NetworkLayout, Role, Shapes, Slot
from safelight.models.checkpoints.layouts.text_encoders import TEXT_ENCODERS

__all__ = [
    "CONTROLS",
    "FAMILY_LAYOUTS",
    "NETWORKS",
    "FamilyLayout",
    "NetworkLayout",
    "Role",
    "Shapes",
    "Slot",
    "layout_of",
]

FAMILY_LAYOUTS: tuple[FamilyLayout, ...] = (
    *stable_diffusion.LAYOUTS,
    kolors.LAYOUT,
    chroma.LAYOUT,
    flux.LAYOUT,
    *flux2.LAYOUTS,
    sd3.LAYOUT,
    qwen_image.LAYOUT,
    z_image.LAYOUT,
    auraflow.LAYOUT,
    lumina2.LAYOUT,
    *sana.LAYOUTS,
    *pixart.LAYOUTS,
    hunyuan_dit.LAYOUT,
    hidream.LAYOUT,
    krea2.LAYOUT,
    cogview4.LAYOUT,
    ernie_image.LAYOUT,
    kandinsky5.LAYOUT,
    hunyuan_image.LAYOUT,
    qwen_image21.LAYOUT,
)
"""Every family; where several fit a denoiser, the first does."""

CONTROLS = (*UNET_CONTROLS, *TRANSFORMER_CONTROLS)
"""Every kind of control network; where several fit a file, the first does."""

NETWORKS: Mapping[str, NetworkLayout] = {
    layout.name: layout
    for layout in (
        *(*AUTOENCODERS, *TEXT_ENCODERS, *IMAGE_ENCODERS, *CONTROLS),
        *(family.denoiser for family in FAMILY_LAYOUTS),
    )
}
"""Every kind of network by name."""


def layout_of(family: str) -> FamilyLayout | None:
    """The layout of a family or of a variant of one, by its name; None if there is none."""
    fitting = [
        layout
        for layout in FAMILY_LAYOUTS
        if family == layout.denoiser.name or family.startswith(f"{layout.denoiser.name}-")
    ]
    return max(fitting, key=lambda layout: len(layout.denoiser.name), default=None)
