"""Kandinsky 5 Image."""

from __future__ import annotations

from typing import Any

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl


def keep_size(pipeline: Any, width: int, height: int, guidance_scale: float) -> None:  # noqa: ARG001  the table's
    """Let the pipeline keep the size: it would take the nearest of seven."""
    pipeline.resolutions = [(width, height)]


KANDINSKY5 = Family(
    key="kandinsky5",
    title="Kandinsky 5 Image",
    pipelines=pipeline_classes("Kandinsky5T2IPipeline"),
    prompt_tokenizer="tokenizer",  # the other one's text encoder gives a summary only
    template_tokens=1,
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16, with time embedding and modulation kept in fp32; ComfyUI allows no fp16",
    ),
    text_encoders=("text_encoder", "text_encoder_2"),
    guidance="cfg-separate",
    guidance_scale=3.5,
    steps=50,
    latent_layout="channels-last",
    passes_sigmas=False,
    passes_mu="never",
    prepare=keep_size,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(KANDINSKY5.name, KANDINSKY5)
