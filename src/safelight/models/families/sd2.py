"""Stable Diffusion 2."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family
from safelight.models.families.sd1 import SD1, SD1_INPAINT
from safelight.plugins import Registry, hookimpl

SD2 = replace(SD1, key="sd2", title="Stable Diffusion 2", side=768)
SD2_INPAINT = replace(SD1_INPAINT, key="sd2", title="Stable Diffusion 2 inpainting")
SD2_TURBO = replace(
    SD2,
    variant="turbo",
    title="SD-Turbo",
    side=512,
    steps=2,
    guidance_scale=1.0,
    sampler="Euler",
    schedule="sgm-uniform",
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (SD2, SD2_INPAINT, SD2_TURBO):
        registry.register(family.name, family)
