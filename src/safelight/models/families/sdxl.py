"""Stable Diffusion XL."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.sd1 import INSTRUCT_PIX2PIX, SD1
from safelight.plugins import Registry, hookimpl

SDXL = replace(
    SD1,
    key="sdxl",
    title="Stable Diffusion XL",
    pipelines=pipeline_classes(
        "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"
    ),
    precision=FamilyPrecision(
        denoiser=("fp16", "bf16"),
        text_encoders=("fp16", "bf16"),
        vae=("fp32", "bf16"),
        source="published in fp16; the autoencoder gives NaN in fp16, not in bf16 (card of sdxl-vae-fp16-fix)",
    ),
    text_encoding="clip-xl",
    text_encoders=("text_encoder", "text_encoder_2"),
    latent_space="sdxl",
    side=1024,
)
SDXL_INPAINT = replace(
    SDXL,
    variant="inpaint",
    title="Stable Diffusion XL inpainting",
    pipelines=pipeline_classes(inpaint="StableDiffusionXLInpaintPipeline"),
    reads_masks=True,
)
SDXL_INSTRUCT_PIX2PIX = replace(
    SDXL,
    variant="instruct-pix2pix",
    title="InstructPix2Pix (SDXL)",
    pipelines=pipeline_classes("StableDiffusionXLInstructPix2PixPipeline"),
    pag=None,
    unconditional_first=False,
    clip_skip=False,
    supports_step_callback=False,
    guidance_scale=5.0,
    sampler="Euler a",
    schedule=None,
    references=replace(
        INSTRUCT_PIX2PIX, pipelines=pipeline_classes("StableDiffusionXLInstructPix2PixPipeline")
    ),
)
"""Likewise, and CosXL Edit."""
SDXL_LCM = replace(
    SDXL,
    variant="lcm",
    title="Latent Consistency Model (SDXL)",
    guidance="embedded",
    supports_negative=False,
    pag=None,
    steps=4,
    guidance_scale=8.0,
    sampler="LCM",
    schedule=None,
)
SDXL_LCM_CFG = replace(
    SDXL,
    variant="lcm-cfg",
    title="Stable Diffusion XL with LCM weights merged in",
    steps=6,
    guidance_scale=1.5,
    sampler="LCM",
    schedule=None,
)
SDXL_TURBO = replace(
    SDXL,
    variant="turbo",
    title="SDXL-Turbo",
    side=512,
    steps=2,
    guidance_scale=1.0,
    sampler="Euler a",
    schedule="sgm-uniform",
)
SDXL_LIGHTNING = replace(
    SDXL_TURBO, variant="lightning", title="SDXL-Lightning", side=1024, steps=4, sampler="Euler"
)
SDXL_HYPER = replace(
    SDXL_TURBO, variant="hyper", title="Hyper-SDXL", side=1024, steps=8, sampler="TCD", schedule=None
)
SDXL_PLAYGROUND = replace(
    SDXL,
    variant="playground",
    title="Playground 2.5",
    steps=50,
    guidance_scale=3.0,
    latent_space="playground",
)
"""Trained with EDM's noise schedule."""
SDXL_REFINER = replace(
    SDXL,
    variant="refiner",
    title="Stable Diffusion XL refiner",
    pipelines=pipeline_classes(None, "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
    text_encoders=("text_encoder_2",),
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (
        SDXL,
        SDXL_INPAINT,
        SDXL_INSTRUCT_PIX2PIX,
        SDXL_LCM,
        SDXL_LCM_CFG,
        SDXL_TURBO,
        SDXL_LIGHTNING,
        SDXL_HYPER,
        SDXL_PLAYGROUND,
        SDXL_REFINER,
    ):
        registry.register(family.name, family)
