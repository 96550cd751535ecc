"""Lumina Image 2."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes

LUMINA2 = Family(
    key="lumina2",
    title="Lumina Image 2",
    pipelines=pipeline_classes("Lumina2Pipeline"),
    template_tokens=32,
    prediction_process="flow",
    guidance="cfg-separate",
    guidance_scale=4.0,
    steps=30,
    side_from_config=True,
)

ENTRIES = (LUMINA2,)
