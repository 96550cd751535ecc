"""Flux."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

FLUX = Family(
    key="flux",
    title="Flux",
    pipelines=pipeline_classes("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; diffusers clips the transformer's activations to the range of fp16, not those of T5",
    ),
    text_encoders=("text_encoder", "text_encoder_2"),
    guidance="embedded",
    supports_negative=False,
    guidance_scale=3.5,
    latent_layout="packed",
)
FLUX_SCHNELL = replace(
    FLUX, variant="schnell", title="Flux schnell", guidance="none", steps=4, guidance_scale=1.0
)
FLUX_FILL = replace(
    FLUX,
    variant="fill",
    title="Flux Fill",
    pixel_masks=True,
    pipelines=pipeline_classes(inpaint="FluxFillPipeline"),
    guidance_scale=30.0,
)
FLUX_KONTEXT = replace(FLUX, variant="kontext", title="Flux Kontext", guidance_scale=2.5)
"""Made to edit a picture that it is shown; what it can do here is to generate as Flux does."""


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (FLUX, FLUX_SCHNELL, FLUX_FILL, FLUX_KONTEXT):
        registry.register(family.name, family)
