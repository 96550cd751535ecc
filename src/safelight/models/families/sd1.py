"""Stable Diffusion 1."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import TEXT, Family, PerturbedAttention, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.references import References, result_size
from safelight.plugins import Registry, hookimpl

SD1 = Family(
    key="sd1",
    title="Stable Diffusion 1",
    pipelines=pipeline_classes(
        "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"
    ),
    pag=PerturbedAttention("mid"),
    prediction_process="diffusion",
    precision=FamilyPrecision(
        denoiser=("fp16", "bf16"),
        text_encoders=("fp16", "bf16"),
        vae=("fp16", "bf16"),
        source="the fp16 weights that its authors published; diffusers' documentation runs it in fp16",
    ),
    denoiser="unet",
    text_encoding="clip",
    clip_skip=True,
    guidance_scale=7.0,
    side=512,
    side_from_config=True,
    sampler="DPM++ 2M",
    schedule="karras",
    size_multiple=8,
    latent_space="sd",
    passes_sigmas=False,
    passes_mu="never",
)
STARTER = replace(
    SD1,
    variant="starter",
    title="Safelight's starter",
    steps=20,
    guidance_scale=4.0,
    side=128,
    schedule=None,
)
"""Our own small checkpoint: Stable Diffusion 1's layout with other defaults, known by its name."""
SD1_INPAINT = replace(
    SD1,
    variant="inpaint",
    title="Stable Diffusion 1 inpainting",
    pipelines=pipeline_classes(inpaint="StableDiffusionInpaintPipeline"),
    reads_masks=True,
)
INSTRUCT_PIX2PIX = References(
    pipelines=pipeline_classes("StableDiffusionInstructPix2PixPipeline"),
    parameters={TEXT: "image"},
    required=True,
    image_guidance=True,
    fitted_size=result_size,
)
SD1_INSTRUCT_PIX2PIX = replace(
    SD1,
    variant="instruct-pix2pix",
    title="InstructPix2Pix",
    pipelines=pipeline_classes("StableDiffusionInstructPix2PixPipeline"),
    pag=None,
    unconditional_first=False,
    clip_skip=False,
    guidance_scale=7.5,
    sampler="Euler a",
    schedule=None,
    references=INSTRUCT_PIX2PIX,
)
"""Edits a picture by an instruction; its U-Net reads the picture beside the latents."""
SD1_LCM = replace(
    SD1,
    variant="lcm",
    title="Latent Consistency Model (Stable Diffusion 1)",
    guidance="embedded",
    supports_negative=False,
    pag=None,
    steps=4,
    guidance_scale=8.5,
    sampler="LCM",
    schedule=None,
)
SD1_LCM_CFG = replace(
    SD1,
    variant="lcm-cfg",
    title="Stable Diffusion 1 with LCM weights merged in",
    steps=6,
    guidance_scale=1.5,
    sampler="LCM",
    schedule=None,
)
SD1_HYPER = replace(
    SD1, variant="hyper", title="Hyper-SD 1", steps=8, guidance_scale=1.0, sampler="TCD", schedule=None
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (SD1, STARTER, SD1_INPAINT, SD1_INSTRUCT_PIX2PIX, SD1_LCM, SD1_LCM_CFG, SD1_HYPER):
        registry.register(family.name, family)
