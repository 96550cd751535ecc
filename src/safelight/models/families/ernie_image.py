"""ERNIE-Image."""

from __future__ import annotations

from types import MappingProxyType

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

ERNIE_IMAGE = Family(
    key="ernie-image",
    title="ERNIE-Image",
    pipelines=pipeline_classes("ErnieImagePipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="trained and published in bf16",
    ),
    guidance_scale=4.0,
    steps=50,
    passes_mu="never",
    pixels_per_latent=16,
    call_arguments=MappingProxyType({"use_pe": False}),  # the prompt is used as written
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(ERNIE_IMAGE.name, ERNIE_IMAGE)
