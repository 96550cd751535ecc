"""CogView4."""

from __future__ import annotations

from safelight.models.families.family import Family, pipeline_classes
from safelight.plugins import Registry, hookimpl

COGVIEW4 = Family(
    key="cogview4",
    title="CogView4",
    pipelines=pipeline_classes("CogView4Pipeline"),
    prediction_process="flow",
    guidance="cfg-separate",
    steps=50,
    side_from_config=True,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(COGVIEW4.name, COGVIEW4)
