"""Sana."""

from __future__ import annotations

from types import MappingProxyType

from safelight.models.families.family import Family, PerturbedAttention, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

SANA = Family(
    key="sana",
    title="Sana",
    pipelines=pipeline_classes("SanaPipeline"),
    pag=PerturbedAttention(
        "transformer_blocks.0", "PAGCFGSanaLinearAttnProcessor2_0", "PAGIdentitySanaLinearAttnProcessor2_0"
    ),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="published in bf16 and in fp16; its card keeps text encoder and autoencoder in bf16 for both",
    ),
    steps=20,
    guidance_scale=4.5,
    side_from_config=True,
    sampler="DPM++ 2M FlowMatch",
    size_multiple=32,
    passes_sigmas=False,
    passes_mu="never",
    call_arguments=MappingProxyType({"use_resolution_binning": False}),
)
SANA_SPRINT = Family(
    key="sana-sprint",
    title="Sana Sprint",
    pipelines=pipeline_classes("SanaSprintPipeline", "SanaSprintImg2ImgPipeline"),
    prediction_process="trigflow",
    precision=FamilyPrecision(
        denoiser=("bf16",), text_encoders=("bf16",), vae=("bf16",), source="card: bf16"
    ),
    guidance="embedded",
    supports_negative=False,
    steps=2,
    guidance_scale=4.5,
    side_from_config=True,
    sampler="SCM",
    size_multiple=32,
    passes_sigmas=False,
    passes_mu="never",
    call_arguments=MappingProxyType({"use_resolution_binning": False, "intermediate_timesteps": None}),
    starts_from_latents=False,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register both architectures."""
    for family in (SANA, SANA_SPRINT):
        registry.register(family.name, family)
