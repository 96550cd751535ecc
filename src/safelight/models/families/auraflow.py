"""AuraFlow."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

AURAFLOW = Family(
    key="auraflow",
    title="AuraFlow",
    pipelines=pipeline_classes("AuraFlowPipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("fp16", "bf16"),
        text_encoders=("bf16",),
        vae=("fp32", "bf16"),
        source="card: fp16; T5 was trained in bf16; the autoencoder is Stable Diffusion XL's",
    ),
    guidance_scale=3.5,
    steps=50,
    passes_sigmas=False,
    passes_mu="never",
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(AURAFLOW.name, AURAFLOW)
