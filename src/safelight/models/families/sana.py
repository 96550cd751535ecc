"""Sana."""

from __future__ import annotations

from types import MappingProxyType

from safelight.models.family import Family, pipeline_classes

SANA = Family(
    key="sana",
    title="Sana",
    pipelines=pipeline_classes("SanaPipeline"),
    pag=pipeline_classes("SanaPAGPipeline"),
    kind="flow",
    steps=20,
    guidance_scale=4.5,
    side_from_config=True,
    sampler="DPM++ 2M FlowMatch",
    size_multiple=32,
    sigmas=False,
    mu="never",
    always=MappingProxyType({"use_resolution_binning": False}),
)

ENTRIES = (SANA,)
