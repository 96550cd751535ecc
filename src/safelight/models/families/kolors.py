"""Kolors."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.sdxl import SDXL
from safelight.plugins import Registry, hookimpl

KOLORS = replace(
    SDXL,
    key="kolors",
    latent_space="",
    title="Kolors",
    pipelines=pipeline_classes("KolorsPipeline", "KolorsImg2ImgPipeline"),
    text_encoding="plain",
    text_encoders=("text_encoder",),
    clip_skip=False,
    steps=25,
    guidance_scale=5.0,
)
"""Stable Diffusion XL's U-Net with ChatGLM as its text encoder."""


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(KOLORS.name, KOLORS)
