"""CogView4."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes

COGVIEW4 = Family(
    key="cogview4",
    title="CogView4",
    pipelines=pipeline_classes("CogView4Pipeline"),
    prediction_process="flow",
    guidance="cfg-separate",
    steps=50,
    side_from_config=True,
)

ENTRIES = (COGVIEW4,)
