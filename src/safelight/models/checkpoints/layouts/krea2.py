"""Krea 2 and its distilled version, whose files differ in nothing but their weights.

Published values: diffusers' defaults of Krea2Transformer2DModel and the documentation of Krea2Pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from safelight.models.checkpoints.layouts.qwen_image import QWEN_VAE_FILES

AXES = {128: [32, 48, 48]}


def _config(shapes: Shapes) -> Config:
    head = needed(shapes, 0, "transformer_blocks.0.attn.norm_q.weight")
    text = "text_fusion.layerwise_blocks.0"
    text_head = needed(shapes, 0, f"{text}.attn.norm_q.weight")
    return without_none(
        {
            "in_channels": needed(shapes, 1, "img_in.weight"),
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "attention_head_dim": head,
            "num_attention_heads": needed(shapes, 0, "transformer_blocks.0.attn.to_q.weight") // head,
            "num_key_value_heads": needed(shapes, 0, "transformer_blocks.0.attn.to_k.weight") // head,
            "intermediate_size": needed(shapes, 0, "transformer_blocks.0.ff.gate.weight"),
            "timestep_embed_dim": needed(shapes, 1, "time_embed.linear_1.weight"),
            "text_hidden_dim": needed(shapes, 0, "txt_in.norm.weight"),
            "num_text_layers": needed(shapes, 1, "text_fusion.projector.weight"),
            "text_num_attention_heads": needed(shapes, 0, f"{text}.attn.to_q.weight") // text_head,
            "text_num_key_value_heads": needed(shapes, 0, f"{text}.attn.to_k.weight") // text_head,
            "text_intermediate_size": needed(shapes, 0, f"{text}.ff.gate.weight"),
            "num_layerwise_text_blocks": count_blocks(shapes, "text_fusion.layerwise_blocks."),
            "num_refiner_text_blocks": count_blocks(shapes, "text_fusion.refiner_blocks."),
            "axes_dims_rope": AXES.get(head),
        }
    )


def _variant(_: Shapes, metadata: Mapping[str, str], name: str) -> str:
    words = declared(metadata, name)
    return "krea2-distilled" if any(each in words for each in ("distil", "turbo", "tdm")) else "krea2"


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="krea2",
        title="a Krea 2 transformer",
        role="denoiser",
        class_name="Krea2Transformer2DModel",
        own_keys=("txtfusion.projector.weight",),
        library_keys=("text_fusion.projector.weight",),
        convert="convert_krea2_transformer_checkpoint_to_diffusers",
        config=_config,
        required=("axes_dims_rope",),
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("wan",),
            usual_files=QWEN_VAE_FILES,
            wanted_width=lambda shapes: (side(shapes, 1, "first.weight", "img_in.weight") or 0) // 4,
            names=("qwen",),
            other_names=("wan",),
        ),
        Slot(
            component="text_encoder",
            layouts=("qwen3-vl",),
            usual_files=("qwen3vl_4b.safetensors",),
            class_name="Qwen3VLModel",
            wanted_width=lambda shapes: side(shapes, 0, "txtmlp.0.scale", "txt_in.norm.weight"),
            prefixes=("qwen3vl", "text_encoder"),
            tokenizer="qwen3",
        ),
    ),
    variant=_variant,
    scheduler=lambda _: flow_scheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=6400,
        max_shift=1.15,
        use_dynamic_shifting=True,
    ),
    options=lambda variant: {"is_distilled": variant == "krea2-distilled"},
)
