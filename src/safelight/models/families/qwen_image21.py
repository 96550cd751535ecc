"""Qwen-Image 2.1."""

from __future__ import annotations

from typing import Any

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl


def use_given_steps(pipeline: Any, width: int, height: int, guidance_scale: float) -> None:  # noqa: ARG001  the table's
    """Let the pipeline take the steps of the request: noise levels in its config would determine their number."""
    pipeline.register_to_config(sample_sigmas=None)


QWEN_IMAGE21 = Family(
    key="qwen-image-21",
    title="Qwen-Image 2.1",
    pipelines=pipeline_classes("QwenImage21Pipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="diffusers' documentation: bf16; for Qwen-Image, ComfyUI allows no fp16",
    ),
    tokenizers=("processor",),
    guidance="cfg-separate",
    guidance_parameter="true_cfg_scale",
    guidance_scale=1.0,
    steps=40,
    size_multiple=32,
    latent_layout="packed",
    pixels_per_patch=16,
    latents_last=True,
    prepare=use_given_steps,
)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture."""
    registry.register(QWEN_IMAGE21.name, QWEN_IMAGE21)
