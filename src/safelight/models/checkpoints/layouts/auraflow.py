"""AuraFlow.

Published values: diffusers' scripts/convert_aura_flow... and the folder of fal; the autoencoder is Stable Diffusion
XL's, the text encoder Pile-T5-XL, whose tokenizer is Llama's and does not come with Safelight.
"""

from __future__ import annotations

from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    Tensors,
    count_blocks,
    divided,
    flow_scheduler,
    needed,
    side,
    without_none,
)


def _convert(tensors: Tensors) -> Tensors:
    from safelight.models.checkpoints.layouts.conversion import convert_with

    converted = convert_with("convert_auraflow_transformer_checkpoint_to_diffusers", tensors)
    return without_none(converted)  # the function puts None for what is missing


def _config(shapes: Shapes) -> Config:
    width, inputs = needed(shapes, 0, "pos_embed.proj.weight"), needed(shapes, 1, "pos_embed.proj.weight")
    heads = divided(width, 256)
    return without_none(
        {
            "sample_size": 64,
            "patch_size": 2,
            "in_channels": inputs // 4,
            "out_channels": needed(shapes, 0, "proj_out.weight") // 4,
            "num_mmdit_layers": count_blocks(shapes, "joint_transformer_blocks."),
            "num_single_dit_layers": count_blocks(shapes, "single_transformer_blocks."),
            "attention_head_dim": 256 if heads else None,
            "num_attention_heads": heads,
            "joint_attention_dim": needed(shapes, 1, "context_embedder.weight"),
            "caption_projection_dim": needed(shapes, 0, "context_embedder.weight"),
            "pos_embed_max_size": needed(shapes, 1, "pos_embed.pos_embed"),
        }
    )


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="auraflow",
        title="an AuraFlow transformer",
        role="denoiser",
        class_name="AuraFlowTransformer2DModel",
        own_keys=("double_layers.0.attn.w2q.weight",),
        library_keys=("joint_transformer_blocks.0.attn.to_q.weight",),
        convert=_convert,
        config=_config,
        required=("attention_head_dim", "num_attention_heads"),
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("kl", "tiny"),
            usual_files=("sdxl_vae.safetensors",),
            wanted_width=lambda shapes: (
                (side(shapes, 1, "init_x_linear.weight", "pos_embed.proj.weight") or 0) // 4
            ),
            config={"scaling_factor": 0.13025, "sample_size": 1024},
            names=("xl",),
        ),
        Slot(
            component="text_encoder",
            layouts=("umt5",),
            usual_files=("pile_t5xl.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "cond_seq_linear.weight", "context_embedder.weight"),
            prefixes=("pile_t5xl", "text_encoder"),
            tokenizer="pile-t5",
        ),
    ),
    variant=lambda *_: "auraflow",
    scheduler=lambda _: flow_scheduler(shift=1.73),
)
