"""Qwen-Image."""

from __future__ import annotations

import math
from dataclasses import replace

from safelight.models.families.family import TEXT, Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.references import References, Size
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
_ROUNDS = 8
"""How often a size is rounded until it stays; 6 times at most were needed for sides up to 4096."""


def edited_size(picture: Size, _: object) -> Size:
    """A megapixel in the proportions of a picture."""
    ratio = picture[0] / picture[1]
    width = math.sqrt(1024 * 1024 * ratio)
    return round(width / 32) * 32, round(width / ratio / 32) * 32


def painted_size(asked: Size) -> Size:
    """The size that the pipeline for inpainting does not change, in about the proportions that were asked for."""
    size = asked
    for _ in range(_ROUNDS):
        size = edited_size(size, None)
    return size


QWEN_IMAGE_EDIT = replace(
    QWEN_IMAGE,
    variant="edit",
    title="Qwen-Image-Edit",
    references=References(
        pipelines=pipeline_classes("QwenImageEditPipeline", None, "QwenImageEditInpaintPipeline"),
        parameters={TEXT: "image"},
        default_size=edited_size,
        painted_size=painted_size,
        components=("processor",),
    ),
)
"""Made to edit a picture that it is shown, which its text encoder sees too; without one it generates as Qwen-Image."""
QWEN_IMAGE_EDIT_PLUS = replace(
    QWEN_IMAGE_EDIT,
    variant="edit-plus",
    title="Qwen-Image-Edit-Plus",
    references=References(
        pipelines=pipeline_classes("QwenImageEditPlusPipeline"),
        parameters={TEXT: "image"},
        maximum=None,
        default_size=edited_size,
        components=("processor",),
    ),
)
"""Likewise with several pictures: the versions 2509 and 2511."""


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (QWEN_IMAGE, QWEN_IMAGE_EDIT, QWEN_IMAGE_EDIT_PLUS):
        registry.register(family.name, family)
