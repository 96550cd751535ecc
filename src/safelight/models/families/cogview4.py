"""CogView4."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

COGVIEW4 = Family(
    key="cogview4",
    title="CogView4",
    pipelines=pipeline_classes("CogView4Pipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16 or fp32, and no fp16, in which activations overflow",
    ),
    guidance="cfg-separate",
    steps=50,
    side_from_config=True,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(COGVIEW4.name, COGVIEW4)
