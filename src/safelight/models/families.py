"""What is known of each model family: one table, read by everything that draws.

A family is an architecture; a variant is a family with other defaults or fewer modes, a distilled one for example.
Every entry was checked against diffusers 0.42: ``tests/models/test_families.py`` compares each field with the
pipelines' signatures and runs each entry with a checkpoint of random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from safelight.errors import CheckpointFamilyError
from safelight.models.family import IMAGE, INPAINT, NO_CLASSES, TEXT, Family

__all__ = ["FAMILIES", "IMAGE", "INPAINT", "TEXT", "Family", "family_named"]


def _classes(
    text: str | None = None, image: str | None = None, inpaint: str | None = None
) -> Mapping[str, str]:
    given = {TEXT: text, IMAGE: image, INPAINT: inpaint}
    return MappingProxyType({mode: name for mode, name in given.items() if name})


SD1 = Family(
    key="sd1",
    title="Stable Diffusion 1",
    pipelines=_classes(
        "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"
    ),
    pag=_classes(
        "StableDiffusionPAGPipeline", "StableDiffusionPAGImg2ImgPipeline", "StableDiffusionPAGInpaintPipeline"
    ),
    kind="diffusion",
    denoiser="unet",
    text_encoding="clip",
    clip_skip=True,
    guidance_scale=7.0,
    side=512,
    side_from_config=True,
    sampler="DPM++ 2M",
    schedule="karras",
    size_multiple=8,
    sigmas=False,
    mu="never",
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
_INPAINT_ONLY = _classes(inpaint="StableDiffusionInpaintPipeline")
SD1_INPAINT = replace(
    SD1,
    variant="inpaint",
    title="Stable Diffusion 1 inpainting",
    pipelines=_INPAINT_ONLY,
    pag=_classes(inpaint="StableDiffusionPAGInpaintPipeline"),
)
SD1_LCM = replace(
    SD1,
    variant="lcm",
    title="Latent Consistency Model (Stable Diffusion 1)",
    guidance="embedded",
    supports_negative=False,
    pag=NO_CLASSES,
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
SD2 = replace(SD1, key="sd2", title="Stable Diffusion 2", side=768)
SD2_INPAINT = replace(SD1_INPAINT, key="sd2", title="Stable Diffusion 2 inpainting")
SD2_TURBO = replace(
    SD2,
    variant="turbo",
    title="SD-Turbo",
    side=512,
    steps=2,
    guidance_scale=1.0,
    sampler="Euler",
    schedule="sgm-uniform",
)
SDXL = replace(
    SD1,
    key="sdxl",
    title="Stable Diffusion XL",
    pipelines=_classes(
        "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"
    ),
    pag=_classes(
        "StableDiffusionXLPAGPipeline",
        "StableDiffusionXLPAGImg2ImgPipeline",
        "StableDiffusionXLPAGInpaintPipeline",
    ),
    text_encoding="clip-xl",
    text_encoders=("text_encoder", "text_encoder_2"),
    side=1024,
)
SDXL_INPAINT = replace(
    SDXL,
    variant="inpaint",
    title="Stable Diffusion XL inpainting",
    pipelines=_classes(inpaint="StableDiffusionXLInpaintPipeline"),
    pag=_classes(inpaint="StableDiffusionXLPAGInpaintPipeline"),
)
SDXL_LCM = replace(
    SDXL,
    variant="lcm",
    title="Latent Consistency Model (SDXL)",
    guidance="embedded",
    supports_negative=False,
    pag=NO_CLASSES,
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
SDXL_REFINER = replace(
    SDXL,
    variant="refiner",
    title="Stable Diffusion XL refiner",
    pipelines=_classes(None, "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
    pag=_classes(None, "StableDiffusionXLPAGImg2ImgPipeline", "StableDiffusionXLPAGInpaintPipeline"),
    text_encoders=("text_encoder_2",),
)
KOLORS = replace(
    SDXL,
    key="kolors",
    title="Kolors",
    pipelines=_classes("KolorsPipeline", "KolorsImg2ImgPipeline"),
    pag=_classes("KolorsPAGPipeline"),
    text_encoding="plain",
    text_encoders=("text_encoder",),
    clip_skip=False,
    steps=25,
    guidance_scale=5.0,
)
"""Stable Diffusion XL's U-Net, told by ChatGLM what to draw."""
SD3 = Family(
    key="sd3",
    title="Stable Diffusion 3",
    pipelines=_classes(
        "StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"
    ),
    pag=_classes("StableDiffusion3PAGPipeline", "StableDiffusion3PAGImg2ImgPipeline"),
    kind="flow",
    text_encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    clip_skip=True,
    guidance_scale=7.0,
    side_from_config=True,
    sigmas=False,
    mu="dynamic",
)
FLUX = Family(
    key="flux",
    title="Flux",
    pipelines=_classes("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
    kind="flow",
    text_encoders=("text_encoder", "text_encoder_2"),
    guidance="embedded",
    supports_negative=False,
    guidance_scale=3.5,
    latents="packed",
)
FLUX_SCHNELL = replace(
    FLUX, variant="schnell", title="Flux schnell", guidance="none", steps=4, guidance_scale=1.0
)
FLUX_FILL = replace(
    FLUX,
    variant="fill",
    title="Flux Fill",
    pixel_masks=True,
    pipelines=_classes(inpaint="FluxFillPipeline"),
    guidance_scale=30.0,
)
FLUX2 = Family(
    key="flux2",
    title="Flux.2",
    pipelines=_classes("Flux2Pipeline"),
    template_tokens=44,
    kind="flow",
    guidance="embedded",
    supports_negative=False,
    guidance_scale=4.0,
    steps=50,
    latents="packed",
)
FLUX2_KLEIN = Family(
    key="flux2-klein",
    title="Flux.2 klein",
    pipelines=_classes("Flux2KleinPipeline", None, "Flux2KleinInpaintPipeline"),
    template_tokens=12,
    kind="flow",
    guidance="cfg-separate",
    supports_negative=False,
    guidance_scale=4.0,
    steps=50,
    latents="packed",
)
FLUX2_KLEIN_DISTILLED = replace(
    FLUX2_KLEIN,
    variant="distilled",
    title="Flux.2 klein distilled",
    guidance="none",
    steps=4,
    guidance_scale=1.0,
)
QWEN_IMAGE = Family(
    key="qwen-image",
    title="Qwen-Image",
    pipelines=_classes("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline"),
    kind="flow",
    guidance="cfg-separate",
    guidance_parameter="true_cfg_scale",
    guidance_scale=4.0,
    steps=50,
    latents="packed",
)
Z_IMAGE = Family(
    key="z-image",
    title="Z-Image",
    pipelines=_classes("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    template_tokens=8,
    kind="flow",
    guidance_off=0.0,
    uncond_first=False,
    guidance_scale=5.0,
    steps=40,
)
Z_IMAGE_TURBO = replace(Z_IMAGE, variant="turbo", title="Z-Image Turbo", steps=9, guidance_scale=1.0)
SANA = Family(
    key="sana",
    title="Sana",
    pipelines=_classes("SanaPipeline"),
    pag=_classes("SanaPAGPipeline"),
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
PIXART_ALPHA = Family(
    key="pixart-alpha",
    title="PixArt-alpha",
    pipelines=_classes("PixArtAlphaPipeline"),
    kind="diffusion",
    steps=20,
    min_steps=2,  # at one step it expects a scheduler for its one-step distillation
    guidance_scale=4.5,
    side_from_config=True,
    sampler="DPM++ 2M",
    step_callback=False,
    sigmas=False,
    mu="never",
    always=MappingProxyType({"use_resolution_binning": False, "clean_caption": False}),
)
PIXART_SIGMA = replace(
    PIXART_ALPHA,
    key="pixart-sigma",
    min_steps=1,
    title="PixArt-sigma",
    pipelines=_classes("PixArtSigmaPipeline"),
    pag=_classes("PixArtSigmaPAGPipeline"),
)
LUMINA2 = Family(
    key="lumina2",
    title="Lumina Image 2",
    pipelines=_classes("Lumina2Pipeline"),
    template_tokens=32,
    kind="flow",
    guidance="cfg-separate",
    guidance_scale=4.0,
    steps=30,
    side_from_config=True,
)
AURAFLOW = Family(
    key="auraflow",
    title="AuraFlow",
    pipelines=_classes("AuraFlowPipeline"),
    kind="flow",
    guidance_scale=3.5,
    steps=50,
    sigmas=False,
    mu="never",
)
CHROMA = Family(
    key="chroma",
    title="Chroma",
    pipelines=_classes("ChromaPipeline", "ChromaImg2ImgPipeline", "ChromaInpaintPipeline"),
    kind="flow",
    guidance="cfg-separate",
    steps=35,
    latents="packed",
    always=MappingProxyType({"max_sequence_length": 512}),  # its inpainting's own is 256
)
COGVIEW4 = Family(
    key="cogview4",
    title="CogView4",
    pipelines=_classes("CogView4Pipeline"),
    kind="flow",
    guidance="cfg-separate",
    steps=50,
    side_from_config=True,
)
HUNYUAN_DIT = Family(
    key="hunyuan-dit",
    title="Hunyuan-DiT",
    pipelines=_classes("HunyuanDiTPipeline"),
    pag=_classes("HunyuanDiTPAGPipeline"),
    reads=256,
    kind="diffusion",
    text_encoders=("text_encoder", "text_encoder_2"),
    steps=50,
    side_from_config=True,
    sampler="DDPM",
    sigmas=False,
    mu="never",
    always=MappingProxyType({"use_resolution_binning": False}),
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            *(SD1, STARTER, SD1_INPAINT, SD1_LCM, SD1_LCM_CFG, SD2, SD2_INPAINT, SD2_TURBO),
            *(SDXL, SDXL_INPAINT, SDXL_LCM, SDXL_LCM_CFG, SDXL_TURBO, SDXL_REFINER, KOLORS, SD3),
            *(FLUX, FLUX_SCHNELL, FLUX_FILL, FLUX2, FLUX2_KLEIN, FLUX2_KLEIN_DISTILLED),
            *(QWEN_IMAGE, Z_IMAGE, Z_IMAGE_TURBO, SANA, PIXART_ALPHA, PIXART_SIGMA),
            *(LUMINA2, AURAFLOW, CHROMA, COGVIEW4, HUNYUAN_DIT),
        )
    }
)
"""Every family and variant by name."""


def family_named(name: str) -> Family:
    """An entry of the table.

    Raises:
        CheckpointFamilyError: There is none of that name.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    raise CheckpointFamilyError(f"There is no family {name!r}.", hint=f"There are: {', '.join(FAMILIES)}.")
