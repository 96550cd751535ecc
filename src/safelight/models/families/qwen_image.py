"""Qwen-Image."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

QWEN_IMAGE = Family(
    key="qwen-image",
    title="Qwen-Image",
    pipelines=pipeline_classes("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16, or fp32 without a GPU; ComfyUI allows no fp16",
    ),
    guidance="cfg-separate",
    guidance_parameter="true_cfg_scale",
    guidance_scale=4.0,
    steps=50,
    latent_layout="packed",
)
QWEN_IMAGE_EDIT = replace(QWEN_IMAGE, variant="edit", title="Qwen-Image-Edit")
"""Made to edit a picture that it is shown; what it can do here is to generate as Qwen-Image does."""


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (QWEN_IMAGE, QWEN_IMAGE_EDIT):
        registry.register(family.name, family)
