"""Hunyuan-DiT."""

from __future__ import annotations

from types import MappingProxyType

from safelight.models.families.family import Family, PerturbedAttention, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

HUNYUAN_DIT = Family(
    key="hunyuan-dit",
    title="Hunyuan-DiT",
    pipelines=pipeline_classes("HunyuanDiTPipeline"),
    pag=PerturbedAttention("blocks.1", "PAGCFGHunyuanAttnProcessor2_0", "PAGHunyuanAttnProcessor2_0"),
    max_prompt_tokens=256,
    prediction_process="diffusion",
    precision=FamilyPrecision(
        denoiser=("fp16", "bf16"),
        text_encoders=("bf16",),
        vae=("fp16", "bf16"),
        source="card: fp16; T5 was trained in bf16; the autoencoder is sdxl-vae-fp16-fix",
    ),
    text_encoders=("text_encoder", "text_encoder_2"),
    steps=50,
    side_from_config=True,
    sampler="DDPM",
    passes_sigmas=False,
    passes_mu="never",
    call_arguments=MappingProxyType({"use_resolution_binning": False}),
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(HUNYUAN_DIT.name, HUNYUAN_DIT)
