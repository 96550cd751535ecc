"""Lumina Image 2."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

LUMINA2 = Family(
    key="lumina2",
    title="Lumina Image 2",
    pipelines=pipeline_classes("Lumina2Pipeline"),
    template_tokens=32,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; black pictures in fp16 (issue 8528 of ComfyUI)",
    ),
    guidance="cfg-separate",
    guidance_scale=4.0,
    steps=30,
    side_from_config=True,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(LUMINA2.name, LUMINA2)
