"""Qwen-Image; ComfyUI's files have the names of diffusers, with or without a prefix.

Published values: diffusers' defaults of QwenImageTransformer2DModel and AutoencoderKLQwenImage; the scheduler is that
of Qwen's folder.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import CheckpointFamilyError
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    declared,
    flow_scheduler,
    needed,
    side,
    without_none,
)

AXES = {128: [16, 56, 56]}
QWEN_VAE_FILES = ("qwen_image_vae.safetensors",)
QWEN_ENCODER_FILES = ("qwen_2.5_vl_7b.safetensors", "qwen_2.5_vl_7b_fp8_scaled.safetensors")


def qwen_config(shapes: Shapes) -> Config:
    """The config of the transformer, from diffusers' names."""
    head = needed(shapes, 0, "transformer_blocks.0.attn.norm_q.weight")
    return without_none(
        {
            "patch_size": 2,
            "in_channels": needed(shapes, 1, "img_in.weight"),
            "out_channels": needed(shapes, 0, "proj_out.weight") // 4,
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "attention_head_dim": head,
            "num_attention_heads": needed(shapes, 0, "img_in.weight") // head,
            "joint_attention_dim": needed(shapes, 1, "txt_in.weight"),
            "axes_dims_rope": AXES.get(head),
        }
    )


QWEN_TRANSFORMER = NetworkLayout(
    name="qwen-image",
    title="a Qwen-Image transformer",
    role="denoiser",
    class_name="QwenImageTransformer2DModel",
    library_keys=("transformer_blocks.0.img_mod.1.weight",),
    config=qwen_config,
    required=("axes_dims_rope",),
)


def _variant(shapes: Shapes, metadata: Mapping[str, str], name: str) -> str:
    if "time_text_embed.addition_t_embedding.weight" in shapes:
        raise CheckpointFamilyError("The file is a Qwen-Image-Layered model, for which there is no pipeline.")
    words = declared(metadata, name)
    if "edit" not in words:
        return "qwen-image"
    several = any(mark in words for mark in ("2509", "2511", "plus"))
    return "qwen-image-edit-plus" if several else "qwen-image-edit"


def _latent_channels(shapes: Shapes) -> int | None:
    outputs = side(shapes, 0, "proj_out.weight")
    return None if outputs is None else outputs // 4


def qwen_scheduler() -> Config:
    """The scheduler of Qwen-Image."""
    return flow_scheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift=1.0,
        shift_terminal=0.02,
        time_shift_type="exponential",
        use_dynamic_shifting=True,
    )


LAYOUT = FamilyLayout(
    denoiser=QWEN_TRANSFORMER,
    slots=(
        Slot(
            component="vae",
            layouts=("wan",),
            usual_files=QWEN_VAE_FILES,
            wanted_width=_latent_channels,
            names=("qwen",),
            other_names=("wan",),
        ),
        Slot(
            component="text_encoder",
            layouts=("qwen2.5-vl",),
            usual_files=QWEN_ENCODER_FILES,
            wanted_width=lambda shapes: side(shapes, 1, "txt_in.weight"),
            prefixes=("qwen25_7b", "qwen2.5", "text_encoder"),
            tokenizer="qwen2",
        ),
    ),
    variant=_variant,
    scheduler=lambda _: qwen_scheduler(),
)
