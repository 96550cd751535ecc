"""Stable Diffusion 3 and 3.5.

Published values: diffusers' scripts/convert_sd3_to_diffusers.py and the folders of stabilityai.
"""

from __future__ import annotations

import math

from safelight.models.checkpoints.layouts.flux import T5_FILES
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    divided,
    flow_scheduler,
    needed,
    side,
    without_none,
)


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "pos_embed.proj.weight")
    patch = needed(shapes, 2, "pos_embed.proj.weight")
    layers = count_blocks(shapes, "transformer_blocks.")
    head = side(shapes, 0, "transformer_blocks.0.attn.norm_q.weight") or 64
    places = needed(shapes, 1, "pos_embed.pos_embed")
    return without_none(
        {
            "sample_size": 128,
            "patch_size": patch,
            "in_channels": needed(shapes, 1, "pos_embed.proj.weight"),
            "out_channels": needed(shapes, 0, "proj_out.weight") // patch**2,
            "num_layers": layers,
            "attention_head_dim": head,
            "num_attention_heads": divided(width, head),
            "joint_attention_dim": needed(shapes, 1, "context_embedder.weight"),
            "caption_projection_dim": needed(shapes, 0, "context_embedder.weight"),
            "pooled_projection_dim": needed(shapes, 1, "time_text_embed.text_embedder.linear_1.weight"),
            "pos_embed_max_size": math.isqrt(places),
            "dual_attention_layers": [
                layer for layer in range(layers) if f"transformer_blocks.{layer}.attn2.to_q.weight" in shapes
            ],
            "qk_norm": "rms_norm" if "transformer_blocks.0.attn.norm_q.weight" in shapes else None,
        }
    )


SD3_TRANSFORMER = NetworkLayout(
    name="sd3",
    title="a Stable Diffusion 3 transformer",
    role="denoiser",
    class_name="SD3Transformer2DModel",
    own_keys=("joint_blocks.0.context_block.adaLN_modulation.1.bias",),
    library_keys=("pos_embed.pos_embed",),
    fits=lambda shapes: (
        "joint_blocks.0.x_block.mlp.fc1.weight" in shapes
        or "transformer_blocks.0.attn.add_k_proj.weight" in shapes
    ),
    convert="convert_sd3_transformer_checkpoint_to_diffusers",
    config=_config,
    required=("num_attention_heads",),
)


def _latent_channels(shapes: Shapes) -> int | None:
    return side(shapes, 1, "x_embedder.proj.weight", "pos_embed.proj.weight")


LAYOUT = FamilyLayout(
    denoiser=SD3_TRANSFORMER,
    slots=(
        Slot(
            component="vae",
            layouts=("kl", "tiny"),
            usual_files=("sd3_vae.safetensors",),
            wanted_width=_latent_channels,
            config={"scaling_factor": 1.5305, "shift_factor": 0.0609, "sample_size": 1024},
            names=("sd3", "sd_3", "sd35"),
            other_names=("flux", "ae."),
        ),
        Slot(
            component="text_encoder",
            layouts=("clip",),
            usual_files=("clip_l.safetensors",),
            class_name="CLIPTextModelWithProjection",
            prefixes=("clip_l", "text_encoder"),
            tokenizer="clip",
            names=("clip_l", "clip-l", "vit-l"),
            other_names=("clip_g", "clip-g", "bigg"),
        ),
        Slot(
            component="text_encoder_2",
            layouts=("open-clip",),
            usual_files=("clip_g.safetensors",),
            class_name="CLIPTextModelWithProjection",
            prefixes=("clip_g", "text_encoder_2"),
            tokenizer="open-clip",
            names=("clip_g", "clip-g", "bigg"),
            other_names=("clip_l", "clip-l", "vit-l"),
        ),
        Slot(
            component="text_encoder_3",
            layouts=("t5",),
            usual_files=T5_FILES,
            wanted_width=lambda shapes: side(shapes, 1, "context_embedder.weight"),
            prefixes=("t5xxl", "text_encoder_3"),
            tokenizer="t5-512",
            optional=True,
        ),
    ),
    variant=lambda *_: "sd3",
    scheduler=lambda _: flow_scheduler(shift=3.0),
)
