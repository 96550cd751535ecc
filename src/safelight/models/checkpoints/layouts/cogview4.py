"""CogView4, in the names of diffusers: its authors publish no other file.

Published values: diffusers' scripts/convert_cogview4_to_diffusers_megatron.py.
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
    flow_scheduler,
    needed,
    side,
    without_none,
)


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "patch_embed.proj.weight")
    heads = divided(width, 40) if width == 2560 else divided(width, 128)
    head = {4096: (32, 128), 2560: (64, 40)}.get(width)
    heads_and_head = head or ((heads, width // heads) if heads else None)
    return without_none(
        {
            "patch_size": 2,
            "in_channels": needed(shapes, 1, "patch_embed.proj.weight") // 4,
            "out_channels": needed(shapes, 0, "proj_out.weight") // 4,
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "num_attention_heads": heads_and_head[0] if heads_and_head else None,
            "attention_head_dim": heads_and_head[1] if heads_and_head else None,
            "text_embed_dim": needed(shapes, 1, "patch_embed.text_proj.weight"),
            "time_embed_dim": needed(shapes, 0, "time_condition_embed.timestep_embedder.linear_1.weight"),
            "condition_dim": needed(shapes, 1, "time_condition_embed.condition_embedder.linear_1.weight")
            // 6,
            "sample_size": 128,
            "pos_embed_max_size": 128,
            "rope_axes_dim": [256, 256],
        }
    )


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="cogview4",
        title="a CogView4 transformer",
        role="denoiser",
        class_name="CogView4Transformer2DModel",
        library_keys=("time_condition_embed.condition_embedder.linear_1.weight",),
        fits=lambda shapes: "patch_embed.text_proj.weight" in shapes,
        config=_config,
        required=("num_attention_heads", "attention_head_dim"),
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("kl", "tiny"),
            usual_files=("cogview4_vae.safetensors",),
            wanted_width=lambda shapes: (side(shapes, 1, "patch_embed.proj.weight") or 0) // 4,
            config={"scaling_factor": 1.0, "shift_factor": 0.0, "sample_size": 1024},
            names=("cogview",),
            other_names=("flux", "sd3", "ae."),
        ),
        Slot(
            component="text_encoder",
            layouts=("glm",),
            usual_files=("glm_4_9b.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "patch_embed.text_proj.weight"),
            prefixes=("glm", "text_encoder"),
            tokenizer="glm",
        ),
    ),
    variant=lambda *_: "cogview4",
    scheduler=lambda _: flow_scheduler(
        base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
    ),
)
