"""Flux: dev, schnell, Fill, and what shares dev's shapes (Kontext, Krea dev).

Published values: diffusers' defaults of FluxTransformer2DModel and its scripts/convert_flux_to_diffusers.py; the
scheduler and the autoencoder's factors are those of black-forest-labs' folders.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    side,
    without_none,
)

AXES = {128: [16, 56, 56]}
"""The dimensions of the rotary embedding by that of a head; shapes do not tell them."""

FLUX_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "sample_size": 1024}
CLIP_L_FILES = ("clip_l.safetensors",)
T5_FILES = ("t5xxl_fp16.safetensors", "t5xxl_fp8_e4m3fn.safetensors")
AE_FILES = ("ae.safetensors", "flux_vae.safetensors")


def flux_config(shapes: Shapes) -> Config:
    """What Flux and Chroma have in common, from diffusers' names."""
    head = needed(shapes, 0, "transformer_blocks.0.attn.norm_q.weight")
    width = needed(shapes, 0, "x_embedder.weight")
    return without_none(
        {
            "in_channels": needed(shapes, 1, "x_embedder.weight"),
            "out_channels": needed(shapes, 0, "proj_out.weight"),
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "num_single_layers": count_blocks(shapes, "single_transformer_blocks."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": needed(shapes, 1, "context_embedder.weight"),
            "axes_dims_rope": AXES.get(head),
        }
    )


def _config(shapes: Shapes) -> Config:
    return flux_config(shapes) | {
        "pooled_projection_dim": needed(shapes, 1, "time_text_embed.text_embedder.linear_1.weight"),
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
    }


def split_single_blocks(tensors: Tensors, function: str) -> Tensors:
    """Convert Flux' and Chroma's tensors with diffusers' function, which knows only the full-size width.

    Its single blocks' first layer (query, key, value and the feed-forward's input in one) is split here by the width
    that the tensors have; the function gets a stand-in of the size that it expects.
    """
    from safelight.models.checkpoints.layouts import conversion

    fused = {name: tensor for name, tensor in tensors.items() if ".linear1." in name}
    width = tensors["img_in.weight"].shape[0]
    stand_ins = {name: conversion.stand_in(tensor, 3072 * 7) for name, tensor in fused.items()}
    converted = conversion.convert_with(function, tensors | stand_ins)
    for name, tensor in fused.items():
        _, block, _, kind = name.split(".")
        parts = tensor.split((width, width, width, tensor.shape[0] - 3 * width), dim=0)
        prefix = f"single_transformer_blocks.{block}"
        for part, target in zip(parts, ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), strict=True):
            converted[f"{prefix}.{target}.{kind}"] = part
    return converted


FLUX_TRANSFORMER = NetworkLayout(
    name="flux",
    title="a Flux transformer",
    role="denoiser",
    class_name="FluxTransformer2DModel",
    own_keys=("double_blocks.0.img_attn.norm.key_norm.scale",),
    library_keys=("single_transformer_blocks.0.proj_mlp.weight",),
    fits=lambda shapes: (
        ("vector_in.in_layer.weight" in shapes or "time_text_embed.text_embedder.linear_1.weight" in shapes)
        and not any(name.startswith("distilled_guidance_layer.") for name in shapes)
    ),
    convert=lambda tensors: split_single_blocks(tensors, "convert_flux_transformer_checkpoint_to_diffusers"),
    config=_config,
    required=("axes_dims_rope",),
)


def _variant(shapes: Shapes, _: Mapping[str, str], __: str) -> str:
    """Schnell has no guidance; Fill takes the masked picture and the mask; Kontext has dev's shapes."""
    guided = any("guidance_in." in key or "guidance_embedder." in key for key in shapes)
    inputs = side(shapes, 1, "img_in.weight", "x_embedder.weight") or 64
    outputs = side(shapes, 0, "final_layer.linear.weight", "proj_out.weight") or 64
    if inputs == outputs:
        return "flux" if guided else "flux-schnell"
    if inputs == 2 * outputs:
        return "flux-control"  # Depth and Canny
    return "flux-fill"


def text_width(shapes: Shapes) -> int | None:
    """The width of the text embeddings that Flux and Chroma read."""
    return side(shapes, 1, "txt_in.weight", "context_embedder.weight")


def latent_channels(shapes: Shapes) -> int | None:
    """The channels of Flux' latents, which it reads in patches of 2 x 2."""
    outputs = side(shapes, 0, "final_layer.linear.weight", "proj_out.weight")
    return None if outputs is None else outputs // 4


T5_SLOT_512 = Slot(
    component="text_encoder",
    layouts=("t5",),
    usual_files=T5_FILES,
    wanted_width=text_width,
    prefixes=("t5xxl", "text_encoder_2", "text_encoder"),
    tokenizer="t5-512",
)
VAE_SLOT = Slot(
    component="vae",
    layouts=("kl", "tiny"),
    usual_files=AE_FILES,
    wanted_width=latent_channels,
    config=FLUX_VAE,
    names=("flux", "ae."),
    other_names=("sd3", "sd_3", "sd35"),
)


def dev_scheduler(variant: str = "") -> Config:
    """The scheduler of Flux; schnell's has a fixed shift of 1."""
    dynamic = variant != "flux-schnell"
    return flow_scheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=4096,
        max_shift=1.15,
        shift=3.0 if dynamic else 1.0,
        use_dynamic_shifting=dynamic,
    )


LAYOUT = FamilyLayout(
    denoiser=FLUX_TRANSFORMER,
    slots=(
        VAE_SLOT,
        Slot(
            component="text_encoder",
            layouts=("clip",),
            usual_files=CLIP_L_FILES,
            class_name="CLIPTextModel",
            wanted_width=lambda shapes: side(
                shapes, 1, "vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight"
            ),
            prefixes=("clip_l", "text_encoder"),
            tokenizer="clip",
        ),
        Slot(
            component="text_encoder_2",
            layouts=("t5",),
            usual_files=T5_FILES,
            wanted_width=text_width,
            prefixes=("t5xxl", "text_encoder_2"),
            tokenizer="t5-512",
        ),
    ),
    variant=_variant,
    scheduler=dev_scheduler,
)
