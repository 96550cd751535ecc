"""PixArt-alpha and PixArt-sigma.

Published values: diffusers' scripts/convert_pixart_alpha_to_diffusers.py and convert_pixart_sigma_to_diffusers.py.
Files of both have the same shapes, but for alpha's embeddings of size and shape at 1024 pixels; which autoencoder a
512-pixel file was trained with, only its name or makers' note tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.models.checkpoints.layouts.flux import T5_FILES
from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    Tensors,
    count_blocks,
    declared,
    divided,
    needed,
    replace_keys,
    side,
    without_none,
)


def _convert(tensors: Tensors) -> Tensors:
    """PixArt's names to diffusers', which has a script but no function for them."""
    left_out = ("pos_embed", "y_embedder.y_embedding")
    renamed = replace_keys(
        {name: tensor for name, tensor in tensors.items() if name not in left_out},
        ("x_embedder.proj.", "pos_embed.proj."),
        ("t_embedder.mlp.0.", "adaln_single.emb.timestep_embedder.linear_1."),
        ("t_embedder.mlp.2.", "adaln_single.emb.timestep_embedder.linear_2."),
        ("csize_embedder.mlp.0.", "adaln_single.emb.resolution_embedder.linear_1."),
        ("csize_embedder.mlp.2.", "adaln_single.emb.resolution_embedder.linear_2."),
        ("ar_embedder.mlp.0.", "adaln_single.emb.aspect_ratio_embedder.linear_1."),
        ("ar_embedder.mlp.2.", "adaln_single.emb.aspect_ratio_embedder.linear_2."),
        ("t_block.1.", "adaln_single.linear."),
        ("y_embedder.y_proj.fc1.", "caption_projection.linear_1."),
        ("y_embedder.y_proj.fc2.", "caption_projection.linear_2."),
        ("final_layer.linear.", "proj_out."),
        ("final_layer.scale_shift_table", "scale_shift_table"),
    )
    converted: Tensors = {}
    for name, tensor in renamed.items():
        if name.startswith("blocks."):
            name = f"transformer_{name}"  # noqa: PLW2901
        name = (  # noqa: PLW2901
            name.replace(".mlp.fc1.", ".ff.net.0.proj.")
            .replace(".mlp.fc2.", ".ff.net.2.")
            .replace(".cross_attn.q_linear.", ".attn2.to_q.")
            .replace(".cross_attn.proj.", ".attn2.to_out.0.")
            .replace(".attn.proj.", ".attn1.to_out.0.")
        )
        parts = {"attn.qkv.": ("attn1", "qkv"), "cross_attn.kv_linear.": ("attn2", "kv")}
        fused = next((key for key in parts if f".{key}" in name), None)
        if fused is None:
            converted[name] = tensor
            continue
        attention, letters = parts[fused]
        for letter, piece in zip(letters, tensor.chunk(len(letters), 0), strict=True):
            converted[name.replace(fused, f"{attention}.to_{letter}.")] = piece
    return converted


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "pos_embed.proj.weight")
    patch = needed(shapes, 2, "pos_embed.proj.weight")
    sized = "adaln_single.emb.resolution_embedder.linear_1.weight" in shapes
    heads = divided(width, 72)
    return without_none(
        {
            "sample_size": 128,
            "patch_size": patch,
            "in_channels": needed(shapes, 1, "pos_embed.proj.weight"),
            "out_channels": needed(shapes, 0, "proj_out.weight") // patch**2,
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "num_attention_heads": heads,
            "attention_head_dim": 72 if heads else None,
            "cross_attention_dim": width,
            "caption_channels": needed(shapes, 1, "caption_projection.linear_1.weight"),
            "use_additional_conditions": sized,
        }
    )


def _transformer(name: str, title: str) -> NetworkLayout:
    return NetworkLayout(
        name=name,
        title=title,
        role="denoiser",
        class_name="PixArtTransformer2DModel",
        own_keys=("t_block.1.weight",),
        library_keys=("adaln_single.linear.weight",),
        fits=lambda shapes: (
            "blocks.0.mlp.inverted_conv.conv.weight" not in shapes
            and ("y_embedder.y_proj.fc1.weight" in shapes or "caption_projection.linear_1.weight" in shapes)
        ),
        convert=_convert,
        config=_config,
        required=("num_attention_heads", "attention_head_dim"),
    )


def _slots(
    vae_file: str, scaling: float, names: tuple[str, ...], others: tuple[str, ...]
) -> tuple[Slot, ...]:
    return (
        Slot(
            component="vae",
            layouts=("kl", "tiny"),
            usual_files=(vae_file,),
            wanted_width=lambda shapes: side(shapes, 1, "x_embedder.proj.weight", "pos_embed.proj.weight"),
            config={"scaling_factor": scaling, "sample_size": 1024},
            names=names,
            other_names=others,
        ),
        Slot(
            component="text_encoder",
            layouts=("t5",),
            usual_files=T5_FILES,
            wanted_width=lambda shapes: side(
                shapes, 1, "y_embedder.y_proj.fc1.weight", "caption_projection.linear_1.weight"
            ),
            prefixes=("t5xxl", "text_encoder"),
            tokenizer="t5-512",
        ),
    )


def _is_alpha(shapes: Shapes, metadata: Mapping[str, str], name: str) -> bool:
    sized = any("csize_embedder." in key or "resolution_embedder." in key for key in shapes)
    return sized or "alpha" in declared(metadata, name)


def _variant(shapes: Shapes, metadata: Mapping[str, str], name: str) -> str:
    return "pixart-alpha" if _is_alpha(shapes, metadata, name) else "pixart-sigma"


def _scheduler(_: str) -> Config:
    return {
        "_class_name": "DPMSolverMultistepScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
    }


SIGMA = FamilyLayout(
    denoiser=_transformer("pixart-sigma", "a PixArt transformer"),
    slots=_slots("sdxl_vae.safetensors", 0.13025, ("xl",), ()),
    variant=_variant,
    scheduler=_scheduler,
)
ALPHA = FamilyLayout(
    denoiser=_transformer("pixart-alpha", "a PixArt transformer"),
    slots=_slots("vae-ft-mse-840000-ema-pruned.safetensors", 0.18215, (), ("xl",)),
    variant=_variant,
    scheduler=_scheduler,
)

LAYOUTS = (SIGMA, ALPHA)
