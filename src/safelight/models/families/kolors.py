"""Kolors."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import pipeline_classes
from safelight.models.families.sdxl import SDXL

KOLORS = replace(
    SDXL,
    key="kolors",
    title="Kolors",
    pipelines=pipeline_classes("KolorsPipeline", "KolorsImg2ImgPipeline"),
    pag=pipeline_classes("KolorsPAGPipeline"),
    text_encoding="plain",
    text_encoders=("text_encoder",),
    clip_skip=False,
    steps=25,
    guidance_scale=5.0,
)
"""Stable Diffusion XL's U-Net with ChatGLM as its text encoder."""

ENTRIES = (KOLORS,)
