"""Chroma."""

from __future__ import annotations

from types import MappingProxyType

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl

CHROMA = Family(
    key="chroma",
    title="Chroma",
    pipelines=pipeline_classes("ChromaPipeline", "ChromaImg2ImgPipeline", "ChromaInpaintPipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16", "fp16"),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; diffusers clips the transformer's activations to the range of fp16, not those of T5",
    ),
    guidance="cfg-separate",
    steps=35,
    latent_layout="packed",
    call_arguments=MappingProxyType({"max_sequence_length": 512}),  # its inpainting's own is 256
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(CHROMA.name, CHROMA)
