"""Krea 2."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

KREA2 = Family(
    key="krea2",
    title="Krea 2",
    pipelines=pipeline_classes("Krea2Pipeline"),
    template_tokens=5,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="diffusers' documentation: bf16, with norms kept in fp32; the autoencoder is Qwen-Image's",
    ),
    guidance="cfg-separate",
    guidance_off_value=0.0,
    guidance_scale=5.5,
    steps=28,
    latent_layout="packed",
)
KREA2_DISTILLED = replace(KREA2, variant="distilled", title="Krea 2 distilled", steps=8, guidance_scale=1.0)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (KREA2, KREA2_DISTILLED):
        registry.register(family.name, family)
