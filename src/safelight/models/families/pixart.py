"""PixArt-alpha and PixArt-sigma."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from safelight.models.families.family import Family, PerturbedAttention, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

PIXART_ALPHA = Family(
    key="pixart-alpha",
    title="PixArt-alpha",
    pipelines=pipeline_classes("PixArtAlphaPipeline"),
    prediction_process="diffusion",
    precision=FamilyPrecision(
        denoiser=("fp16", "bf16"),
        text_encoders=("bf16",),
        vae=("fp16", "bf16"),
        source="card: fp16; T5 was trained in bf16",
    ),
    steps=20,
    min_steps=2,  # at one step it expects a scheduler for its one-step distillation
    guidance_scale=4.5,
    side_from_config=True,
    sampler="DPM++ 2M",
    supports_step_callback=False,
    passes_sigmas=False,
    passes_mu="never",
    call_arguments=MappingProxyType({"use_resolution_binning": False, "clean_caption": False}),
)
PIXART_SIGMA = replace(
    PIXART_ALPHA,
    key="pixart-sigma",
    min_steps=1,
    title="PixArt-sigma",
    precision=replace(
        PIXART_ALPHA.precision,
        vae=("fp32", "bf16"),
        source="card: fp16; T5 was trained in bf16; the autoencoder is Stable Diffusion XL's",
    ),
    pipelines=pipeline_classes("PixArtSigmaPipeline"),
    pag=PerturbedAttention("blocks.1"),
)
PIXART_ALPHA_LCM = replace(
    PIXART_ALPHA, variant="lcm", title="PixArt-alpha LCM", steps=4, guidance_scale=1.0, sampler="LCM"
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (PIXART_ALPHA, PIXART_ALPHA_LCM, PIXART_SIGMA):
        registry.register(family.name, family)
