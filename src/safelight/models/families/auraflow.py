"""AuraFlow."""

from __future__ import annotations

from safelight.models.family import Family, pipeline_classes

AURAFLOW = Family(
    key="auraflow",
    title="AuraFlow",
    pipelines=pipeline_classes("AuraFlowPipeline"),
    kind="flow",
    guidance_scale=3.5,
    steps=50,
    sigmas=False,
    mu="never",
)

ENTRIES = (AURAFLOW,)
