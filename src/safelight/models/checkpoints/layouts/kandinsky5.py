"""Kandinsky 5 Image: text-to-image. Its authors' files, ComfyUI's and diffusers' have the same names of tensors.

Published values: diffusers' defaults of Kandinsky5Transformer3DModel and, for heads of 128, the authors' image and Pro
models. The models for video and for editing have the same tensors in other sizes, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.layouts.flux import CLIP_L_FILES, VAE_SLOT
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    flow_scheduler,
    needed,
    side,
    without_none,
)
from safelight.models.checkpoints.layouts.qwen_image import QWEN_ENCODER_FILES

AXES = {64: [16, 24, 24], 128: [32, 48, 48]}
_VIDEO_WIDTHS = (1792, 4096)
"""The widths of Kandinsky 5 Video Lite and Pro."""


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "visual_embeddings.in_layer.weight")
    head = needed(shapes, 0, "visual_transformer_blocks.0.cross_attention.key_norm.weight")
    return without_none(
        {
            "in_visual_dim": needed(shapes, 1, "visual_embeddings.in_layer.weight") // 4,
            "out_visual_dim": needed(shapes, 0, "out_layer.out_layer.weight") // 4,
            "in_text_dim": needed(shapes, 1, "text_embeddings.in_layer.weight"),
            "in_text_dim2": needed(shapes, 1, "pooled_text_embeddings.in_layer.weight"),
            "time_dim": needed(shapes, 0, "time_embeddings.in_layer.weight"),
            "patch_size": [1, 2, 2],
            "model_dim": width,
            "ff_dim": needed(shapes, 0, "visual_transformer_blocks.0.feed_forward.in_layer.weight"),
            "num_text_blocks": count_blocks(shapes, "text_transformer_blocks."),
            "num_visual_blocks": count_blocks(shapes, "visual_transformer_blocks."),
            "axes_dims": AXES.get(head),
        }
    )


def _variant(shapes: Shapes, _metadata: Mapping[str, str], _name: str) -> str:
    inputs = side(shapes, 1, "visual_embeddings.in_layer.weight")
    outputs = side(shapes, 0, "out_layer.out_layer.weight")
    width = side(shapes, 0, "visual_embeddings.in_layer.weight")
    if inputs != outputs or width in _VIDEO_WIDTHS:
        raise CheckpointFamilyError(
            "The file is a Kandinsky 5 model for video or for editing pictures; "
            "Safelight has a pipeline for its text-to-image model only."
        )
    return "kandinsky5"


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="kandinsky5",
        title="a Kandinsky 5 transformer",
        role="denoiser",
        class_name="Kandinsky5Transformer3DModel",
        library_keys=("visual_transformer_blocks.0.cross_attention.key_norm.weight",),
        config=_config,
        required=("axes_dims",),
    ),
    slots=(
        replace(
            VAE_SLOT,
            wanted_width=lambda shapes: (side(shapes, 0, "out_layer.out_layer.weight") or 0) // 4,
        ),
        Slot(
            component="text_encoder",
            layouts=("qwen2.5-vl",),
            usual_files=QWEN_ENCODER_FILES,
            wanted_width=lambda shapes: side(shapes, 1, "text_embeddings.in_layer.weight"),
            prefixes=("qwen25_7b", "qwen2.5", "text_encoder"),
            tokenizer="qwen2-vl",
        ),
        Slot(
            component="text_encoder_2",
            layouts=("clip",),
            usual_files=CLIP_L_FILES,
            class_name="CLIPTextModel",
            wanted_width=lambda shapes: side(shapes, 1, "pooled_text_embeddings.in_layer.weight"),
            prefixes=("clip_l", "text_encoder_2"),
            tokenizer="clip",
        ),
    ),
    variant=_variant,
    scheduler=lambda _: flow_scheduler(shift=3.0),
)
