"""Stable Diffusion 3."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, PerturbedAttention, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

SD3 = Family(
    key="sd3",
    title="Stable Diffusion 3",
    pipelines=pipeline_classes(
        "StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"
    ),
    pag=PerturbedAttention("blocks.1", "PAGCFGJointAttnProcessor2_0", "PAGJointAttnProcessor2_0"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="cards: 3 in fp16, 3.5 in bf16; T5 was trained in bf16",
    ),
    text_encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    clip_skip=True,
    guidance_scale=7.0,
    side_from_config=True,
    passes_sigmas=False,
    passes_mu="dynamic",
)
SD35_LARGE = replace(SD3, variant="35-large", title="Stable Diffusion 3.5 Large", guidance_scale=3.5)
SD35_MEDIUM = replace(
    SD3, variant="35-medium", title="Stable Diffusion 3.5 Medium", steps=40, guidance_scale=4.5
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (SD3, SD35_LARGE, SD35_MEDIUM):
        registry.register(family.name, family)
