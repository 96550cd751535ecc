"""Lumina Image 2.

Published values: diffusers' defaults of Lumina2Transformer2DModel (with the 2,304 features of Gemma 2 2B) and
scripts/convert_lumina_to_diffusers.py; the autoencoder is Flux'.
"""

from __future__ import annotations

from dataclasses import replace

from safelight.models.checkpoints.layouts.flux import VAE_SLOT
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    Tensors,
    count_blocks,
    flow_scheduler,
    needed,
    replace_keys,
    side,
    without_none,
)

AXES = {96: [32, 32, 32]}


def _convert(tensors: Tensors) -> Tensors:
    """Diffusers' function knows only the full-size widths of queries and keys, and two context refiners."""
    renamed = replace_keys(
        {name: tensor for name, tensor in tensors.items() if name != "norm_final.weight"},
        ("final_layer.adaLN_modulation.1", "norm_out.linear_1"),
        ("final_layer.linear", "norm_out.linear_2"),
        ("cap_embedder", "time_caption_embed.caption_embedder"),
        ("t_embedder.mlp.0", "time_caption_embed.timestep_embedder.linear_1"),
        ("t_embedder.mlp.2", "time_caption_embed.timestep_embedder.linear_2"),
        ("attention_norm2", "norm2"),
        ("adaLN_modulation.1", "norm1.linear"),
        (".attention.", ".attn."),
        (".out.", ".to_out.0."),
        ("k_norm", "norm_k"),
        ("q_norm", "norm_q"),
        (".w1.", ".linear_1."),
        (".w2.", ".linear_2."),
        (".w3.", ".linear_3."),
    )
    converted: Tensors = {}
    for name, tensor in renamed.items():
        if name.endswith("attn.qkv.weight"):
            width = tensor.shape[1]
            rest = (tensor.shape[0] - width) // 2
            for part, piece in zip("qkv", tensor.split((width, rest, rest), dim=0), strict=True):
                converted[name.replace("qkv", f"to_{part}")] = piece
        elif "attention_norm1" in name:
            normal = "norm1" if name.startswith("context_refiner") else "norm1.norm"
            converted[name.replace("attention_norm1", normal)] = tensor
        else:
            converted[name] = tensor
    return converted


def _config(shapes: Shapes) -> Config:
    head = needed(shapes, 0, "layers.0.attn.norm_q.weight")
    width = needed(shapes, 0, "x_embedder.weight")
    feed_forward = needed(shapes, 0, "layers.0.feed_forward.linear_1.weight")
    multiple = next((each for each in (256, 128, 64, 32, 16, 8, 4, 2, 1) if feed_forward % each == 0), 1)
    axes = AXES.get(head)
    return without_none(
        {
            "sample_size": 128,
            "patch_size": 2,
            "in_channels": needed(shapes, 1, "x_embedder.weight") // 4,
            "hidden_size": width,
            "num_layers": count_blocks(shapes, "layers."),
            "num_refiner_layers": count_blocks(shapes, "noise_refiner."),
            "num_attention_heads": needed(shapes, 0, "layers.0.attn.to_q.weight") // head,
            "num_kv_heads": needed(shapes, 0, "layers.0.attn.to_k.weight") // head,
            "multiple_of": multiple,
            "cap_feat_dim": needed(shapes, 0, "time_caption_embed.caption_embedder.0.weight"),
            "axes_dim_rope": axes,
            "axes_lens": [300, 512, 512] if axes else None,
        }
    )


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="lumina2",
        title="a Lumina Image 2 transformer",
        role="denoiser",
        class_name="Lumina2Transformer2DModel",
        own_keys=("cap_embedder.0.weight",),
        library_keys=("time_caption_embed.caption_embedder.0.weight",),
        fits=lambda shapes: "cap_pad_token" not in shapes,
        convert=_convert,
        config=_config,
        required=("axes_dim_rope", "axes_lens"),
    ),
    slots=(
        replace(
            VAE_SLOT,
            wanted_width=lambda shapes: (side(shapes, 1, "x_embedder.weight") or 0) // 4,
        ),
        Slot(
            component="text_encoder",
            layouts=("gemma2",),
            usual_files=("gemma_2_2b_fp16.safetensors",),
            wanted_width=lambda shapes: side(
                shapes, 0, "cap_embedder.0.weight", "time_caption_embed.caption_embedder.0.weight"
            ),
            prefixes=("gemma2_2b", "text_encoder"),
            tokenizer="gemma2",
        ),
    ),
    variant=lambda *_: "lumina2",
    scheduler=lambda _: flow_scheduler(shift=6.0),
)
