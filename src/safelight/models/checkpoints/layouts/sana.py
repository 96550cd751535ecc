"""Sana.

Published values: diffusers' defaults of SanaTransformer2DModel and scripts/convert_sana_to_diffusers.py.
"""

from __future__ import annotations

from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    count_blocks,
    divided,
    needed,
    side,
    without_none,
)

_CROSS_HEADS = {2240: 20, 1152: 16}
"""Heads of the cross-attention by the network's width: Sana 1.6 B and 4.8 B, and 0.6 B."""


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "patch_embed.proj.weight")
    cross = _CROSS_HEADS.get(width)
    heads = divided(width, 32)
    inverted = needed(shapes, 0, "transformer_blocks.0.ff.conv_inverted.weight")
    return without_none(
        {
            "in_channels": needed(shapes, 1, "patch_embed.proj.weight"),
            "out_channels": needed(shapes, 0, "proj_out.weight"),
            "patch_size": 1,
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "num_attention_heads": heads,
            "attention_head_dim": 32 if heads else None,
            "num_cross_attention_heads": cross,
            "cross_attention_head_dim": width // cross if cross else None,
            "cross_attention_dim": width,
            "caption_channels": needed(shapes, 1, "caption_projection.linear_1.weight"),
            "mlp_ratio": inverted / 2 / width,
            "sample_size": 32,
            "qk_norm": "rms_norm_across_heads"
            if "transformer_blocks.0.attn1.norm_q.weight" in shapes
            else None,
        }
    )


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="sana",
        title="a Sana transformer",
        role="denoiser",
        class_name="SanaTransformer2DModel",
        own_keys=("blocks.0.cross_attn.q_linear.weight",),
        library_keys=("transformer_blocks.0.ff.conv_inverted.weight",),
        fits=lambda shapes: (
            "blocks.0.mlp.inverted_conv.conv.weight" in shapes
            or "transformer_blocks.0.ff.conv_inverted.weight" in shapes
        ),
        convert="convert_sana_transformer_to_diffusers",
        config=_config,
        required=("num_attention_heads", "num_cross_attention_heads"),
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("dc",),
            usual_files=("dc-ae-f32c32-sana.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "x_embedder.proj.weight", "patch_embed.proj.weight"),
            config={"scaling_factor": 0.41407},
        ),
        Slot(
            component="text_encoder",
            layouts=("gemma2",),
            usual_files=("gemma_2_2b_fp16.safetensors",),
            wanted_width=lambda shapes: side(
                shapes, 1, "y_embedder.y_proj.fc1.weight", "caption_projection.linear_1.weight"
            ),
            prefixes=("gemma2_2b", "text_encoder"),
            tokenizer="gemma2",
        ),
    ),
    variant=lambda *_: "sana",
    scheduler=lambda _: {
        "_class_name": "DPMSolverMultistepScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": 3.0,
    },
)
