"""Flux.2 and Flux.2 klein."""

from __future__ import annotations

from dataclasses import replace

from safelight.models.families.family import INPAINT, TEXT, Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.models.families.references import References
from safelight.plugins import Registry, hookimpl

FLUX2 = Family(
    key="flux2",
    title="Flux.2",
    pipelines=pipeline_classes("Flux2Pipeline"),
    template_tokens=44,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; diffusers clips the transformer's activations to the range of fp16",
    ),
    guidance="embedded",
    supports_negative=False,
    guidance_scale=4.0,
    steps=50,
    latent_layout="packed",
    references=References(
        pipelines=pipeline_classes("Flux2Pipeline"),
        parameters={TEXT: "image"},
        maximum=None,
        min_side=64,
        max_ratio=8,
    ),
)
FLUX2_KLEIN = Family(
    key="flux2-klein",
    title="Flux.2 klein",
    pipelines=pipeline_classes("Flux2KleinPipeline", None, "Flux2KleinInpaintPipeline"),
    template_tokens=12,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; diffusers clips the transformer's activations to the range of fp16",
    ),
    guidance="cfg-separate",
    supports_negative=False,
    guidance_scale=4.0,
    steps=50,
    latent_layout="packed",
    references=References(
        pipelines=pipeline_classes("Flux2KleinPipeline", None, "Flux2KleinInpaintPipeline"),
        parameters={TEXT: "image", INPAINT: "image_reference"},
        maximum=None,
        min_side=64,
        max_ratio=8,
    ),
)
FLUX2_KLEIN_DISTILLED = replace(
    FLUX2_KLEIN,
    variant="distilled",
    title="Flux.2 klein distilled",
    guidance="none",
    steps=4,
    guidance_scale=1.0,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (FLUX2, FLUX2_KLEIN, FLUX2_KLEIN_DISTILLED):
        registry.register(family.name, family)
