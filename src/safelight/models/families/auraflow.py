"""AuraFlow."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes
from safelight.plugins import Registry, hookimpl

AURAFLOW = Family(
    key="auraflow",
    title="AuraFlow",
    pipelines=pipeline_classes("AuraFlowPipeline"),
    prediction_process="flow",
    guidance_scale=3.5,
    steps=50,
    passes_sigmas=False,
    passes_mu="never",
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(AURAFLOW.name, AURAFLOW)
