"""CogView4."""

from __future__ import annotations

from safelight.models.family import Family, pipeline_classes

COGVIEW4 = Family(
    key="cogview4",
    title="CogView4",
    pipelines=pipeline_classes("CogView4Pipeline"),
    kind="flow",
    guidance="cfg-separate",
    steps=50,
    side_from_config=True,
)

ENTRIES = (COGVIEW4,)
