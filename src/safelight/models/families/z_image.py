"""Z-Image."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

Z_IMAGE = Family(
    key="z-image",
    title="Z-Image",
    pipelines=pipeline_classes("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    template_tokens=8,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; in fp16 its latents are NaN (issue 14 of Tongyi-MAI/Z-Image)",
    ),
    guidance_off_value=0.0,
    unconditional_first=False,
    guidance_scale=5.0,
    steps=40,
)
Z_IMAGE_TURBO = replace(Z_IMAGE, variant="turbo", title="Z-Image Turbo", steps=9, guidance_scale=1.0)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (Z_IMAGE, Z_IMAGE_TURBO):
        registry.register(family.name, family)
