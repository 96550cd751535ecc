"""Chroma."""

from __future__ import annotations

from types import MappingProxyType

from safelight.models.family import Family, pipeline_classes

CHROMA = Family(
    key="chroma",
    title="Chroma",
    pipelines=pipeline_classes("ChromaPipeline", "ChromaImg2ImgPipeline", "ChromaInpaintPipeline"),
    kind="flow",
    guidance="cfg-separate",
    steps=35,
    latents="packed",
    always=MappingProxyType({"max_sequence_length": 512}),  # its inpainting's own is 256
)

ENTRIES = (CHROMA,)
