"""HunyuanImage 2.1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from safelight.models.families.family import Family, pipeline_classes, use_as_is
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl


def set_guidance(pipeline: Any, width: int, height: int, guidance_scale: float) -> None:  # noqa: ARG001  the table's
    """Give the pipeline guiders of its own with the scale: they are components, and have the state of a run."""
    for name in ("guider", "ocr_guider"):
        guider = getattr(pipeline, name)
        if guider is not None:
            changed = {"guidance_scale": guidance_scale, "enabled": guidance_scale > 1}
            setattr(pipeline, name, guider.new(**changed))


HUNYUAN_IMAGE = Family(
    key="hunyuan-image",
    title="HunyuanImage 2.1",
    pipelines=pipeline_classes("HunyuanImagePipeline"),
    prompt_tokenizer="tokenizer",  # the other one reads quoted text only
    max_prompt_tokens=1000,
    template_tokens=1,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; ComfyUI allows no fp16",
    ),
    text_encoders=("text_encoder", "text_encoder_2"),
    guidance="cfg-separate",
    guidance_parameter=None,
    guidance_scale=3.5,
    steps=50,
    side=2048,
    size_multiple=64,
    passes_mu="never",
    prepare=set_guidance,
)
HUNYUAN_IMAGE_DISTILLED = replace(
    HUNYUAN_IMAGE,
    variant="distilled",
    title="HunyuanImage 2.1 distilled",
    guidance="embedded",
    guidance_parameter="distilled_guidance_scale",
    supports_negative=False,
    guidance_scale=3.25,
    steps=8,
    prepare=use_as_is,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (HUNYUAN_IMAGE, HUNYUAN_IMAGE_DISTILLED):
        registry.register(family.name, family)
