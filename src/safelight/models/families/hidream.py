"""HiDream-I1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from safelight.models.families.family import Family, pipeline_classes
from safelight.models.families.precision import FamilyPrecision
from safelight.plugins import Registry, hookimpl


def keep_size(pipeline: Any, width: int, height: int, guidance_scale: float) -> None:  # noqa: ARG001  the table's
    """Let the pipeline keep the size: it would scale it to the area of its default size."""
    # A little more, since the pipeline rounds the scaled size down.
    pipeline.default_sample_size = math.sqrt(width * height) / pipeline.vae_scale_factor * (1 + 1e-9)


HIDREAM = Family(
    key="hidream",
    title="HiDream-I1",
    pipelines=pipeline_classes("HiDreamImagePipeline"),
    prediction_process="flow",
    precision=FamilyPrecision(
        denoiser=("bf16",),
        text_encoders=("bf16",),
        vae=("bf16",),
        source="card: bf16; ComfyUI allows no fp16",
    ),
    text_encoders=("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4"),
    steps=50,
    sampler="UniPC FlowMatch",
    max_pixels=1024 * 1024,
    passes_sigmas=False,
    prepare=keep_size,
)
HIDREAM_DEV = replace(
    HIDREAM,
    variant="dev",
    title="HiDream-I1 Dev",
    steps=28,
    guidance_scale=1.0,
    sampler="LCM FlowMatch",
)
HIDREAM_FAST = replace(HIDREAM_DEV, variant="fast", title="HiDream-I1 Fast", steps=16)


@hookimpl
def register_families(registry: Registry[Family]) -> None:
    """Register the architecture and its variants."""
    for family in (HIDREAM, HIDREAM_DEV, HIDREAM_FAST):
        registry.register(family.name, family)
