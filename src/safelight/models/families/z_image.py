"""Z-Image."""

from __future__ import annotations

import math
from dataclasses import replace

from safelight.models.families.family import TEXT, Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.references import References, Size
from safelight.plugins import Registry, hookimpl

Z_IMAGE = Family(
    key="z-image",
    title="Z-Image",
    pipelines=pipeline_classes("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    template_tokens=8,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; in fp16 its latents are NaN (issue 14 of Tongyi-MAI/Z-Image)",
    ),
    guidance_off_value=0.0,
    unconditional_first=False,
    guidance_scale=5.0,
    steps=40,
)
Z_IMAGE_TURBO = replace(Z_IMAGE, variant="turbo", title="Z-Image Turbo", steps=9, guidance_scale=1.0)
_MEGAPIXEL = 1024 * 1024
_MAX_RATIO = 8


def seen_size(picture: Size, result: Size) -> Size:
    """The size in which a reference is given to Omni's pipeline.

    The pipeline brings one of more than a megapixel to the number of pixels of the result. Where these are more than a
    megapixel, which would enlarge some, it gets a megapixel.
    """
    pixels = math.prod(picture)
    if pixels <= _MEGAPIXEL or math.prod(result) <= _MEGAPIXEL:
        return picture
    scale = math.sqrt(_MEGAPIXEL / pixels)
    width, height = (int(side * scale) for side in picture)
    longest = _MAX_RATIO * min(width, height)  # rounding must not make it narrower than the pipeline permits
    return min(width, longest), min(height, longest)


Z_IMAGE_OMNI = replace(
    Z_IMAGE,
    variant="omni",
    title="Z-Image Omni",
    pipelines=pipeline_classes("ZImageOmniPipeline"),
    steps=50,
    takes_controls=False,
    references=References(
        pipelines=pipeline_classes("ZImageOmniPipeline"),
        parameters={TEXT: "image"},
        maximum=None,
        min_side=64,
        max_ratio=_MAX_RATIO,
        fitted_size=seen_size,
        components=("siglip", "siglip_processor"),
    ),
)
"""Its denoiser is called with lists of pictures, the last of which is the result: with references and without."""


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (Z_IMAGE, Z_IMAGE_TURBO, Z_IMAGE_OMNI):
        registry.register(family.name, family)
