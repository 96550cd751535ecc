"""Qwen-Image 2.1; ComfyUI's files have the names of diffusers, but gate and input of the feed-forward layers fused.

Published values: diffusers' defaults of QwenImage21Transformer2DModel and AutoencoderKLQwenImage21; the scheduler is
Qwen-Image's, whose first noise levels agree with those of the published model.
"""

from __future__ import annotations

from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    needed,
    side,
    without_none,
)
from safelight.models.checkpoints.layouts.qwen_image import AXES, qwen_scheduler

_FEED_FORWARD = "transformer_blocks.0.img_mlp."


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "img_in.weight")
    head = needed(shapes, 0, "transformer_blocks.0.attn.norm_q.weight")
    return without_none(
        {
            "patch_size": 1,
            "in_channels": needed(shapes, 1, "img_in.weight"),
            "out_channels": needed(shapes, 0, "proj_out.weight"),
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "attention_head_dim": head,
            "num_attention_heads": needed(shapes, 0, "transformer_blocks.0.attn.to_q.weight") // head,
            "context_in_dim": needed(shapes, 1, "txt_in.in_layer.weight"),
            "mlp_ratio": needed(shapes, 0, f"{_FEED_FORWARD}proj.weight") // width,
            "axes_dims_rope": AXES.get(head),
        }
    )


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="qwen-image-21",
        title="a Qwen-Image 2.1 transformer",
        role="denoiser",
        class_name="QwenImage21Transformer2DModel",
        own_keys=(f"{_FEED_FORWARD}gate_up.weight",),
        library_keys=(f"{_FEED_FORWARD}gate_layer.weight",),
        fits=lambda shapes: "txt_in.text_norm.weight" in shapes,
        convert="convert_qwen_image21_transformer_checkpoint_to_diffusers",
        config=_config,
        required=("axes_dims_rope",),
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("qwen-image-21-vae",),
            usual_files=("qwen_image_2.1_vae_bf16.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "img_in.weight"),
        ),
        Slot(
            component="text_encoder",
            layouts=("qwen3-vl",),
            usual_files=("qwen3vl_8b_bf16.safetensors",),
            class_name="Qwen3VLForConditionalGeneration",
            wanted_width=lambda shapes: side(shapes, 1, "txt_in.in_layer.weight"),
            prefixes=("qwen3vl", "text_encoder"),
            tokenizer="qwen3-vl",
        ),
    ),
    variant=lambda *_: "qwen-image-21",
    scheduler=lambda _: qwen_scheduler(),
)
