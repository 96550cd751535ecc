"""Hunyuan-DiT, in the names of diffusers; in the authors' names its files are torch archives, which need conversion.

Published values: diffusers' defaults of HunyuanDiT2DModel and scripts/convert_hunyuandit_to_diffusers.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from safelight.models.checkpoints.layouts.layout import (
    Config,
    FamilyLayout,
    NetworkLayout,
    Shapes,
    Slot,
    Tensors,
    count_blocks,
    needed,
    replace_keys,
    side,
    swap_halves,
)


def _convert(tensors: Tensors) -> Tensors:
    """Tencent's names to diffusers', as diffusers' script does it."""
    left_out = ("freqs_cis_img",)
    renamed = replace_keys(
        {name: tensor for name, tensor in tensors.items() if not name.startswith(left_out)},
        ("mlp_t5.0.", "text_embedder.linear_1."),
        ("mlp_t5.2.", "text_embedder.linear_2."),
        ("x_embedder.proj.", "pos_embed.proj."),
        ("pooler.", "time_extra_emb.pooler."),
        ("style_embedder.", "time_extra_emb.style_embedder."),
        ("extra_embedder.0.", "time_extra_emb.extra_embedder.linear_1."),
        ("extra_embedder.2.", "time_extra_emb.extra_embedder.linear_2."),
        ("t_embedder.mlp.0.", "time_extra_emb.timestep_embedder.linear_1."),
        ("t_embedder.mlp.2.", "time_extra_emb.timestep_embedder.linear_2."),
        ("final_layer.linear.", "proj_out."),
        ("final_layer.adaLN_modulation.1.", "norm_out.linear."),
        (".default_modulation.1.", ".norm1.linear."),
        (".mlp.fc1.", ".ff.net.0.proj."),
        (".mlp.fc2.", ".ff.net.2."),
        (".q_norm.", ".norm_q."),
        (".k_norm.", ".norm_k."),
        (".attn2.q_proj.", ".attn2.to_q."),
        (".attn1.out_proj.", ".attn1.to_out.0."),
        (".attn2.out_proj.", ".attn2.to_out.0."),
    )
    converted: Tensors = {}
    for name, tensor in renamed.items():
        if fused := re.match(r"(.*)\.(Wqkv|kv_proj)\.(weight|bias)$", name):
            letters = "qkv" if fused[2] == "Wqkv" else "kv"
            for letter, piece in zip(letters, tensor.chunk(len(letters), 0), strict=True):
                converted[f"{fused[1]}.to_{letter}.{fused[3]}"] = piece
        elif norm := re.match(r"blocks\.(\d+)\.norm([123])\.(weight|bias)$", name):
            # the script names the first norm's parts anew, and exchanges the second and the third
            target = {"1": "norm1.norm", "2": "norm3", "3": "norm2"}[norm[2]]
            converted[f"blocks.{norm[1]}.{target}.{norm[3]}"] = tensor
        else:
            converted[name] = swap_halves(tensor) if name.startswith("norm_out.linear.") else tensor
    return converted


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "pos_embed.proj.weight")
    patch = needed(shapes, 2, "pos_embed.proj.weight")
    head = needed(shapes, 0, "blocks.0.attn1.norm_q.weight")
    inputs = needed(shapes, 1, "pos_embed.proj.weight")
    t5 = needed(shapes, 0, "time_extra_emb.pooler.positional_embedding") - 1
    return {
        "sample_size": 128,
        "patch_size": patch,
        "in_channels": inputs,
        "hidden_size": width,
        "num_layers": count_blocks(shapes, "blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "mlp_ratio": needed(shapes, 0, "blocks.0.ff.net.0.proj.weight") / width,
        "learn_sigma": needed(shapes, 0, "proj_out.weight") // patch**2 == 2 * inputs,
        "cross_attention_dim": needed(shapes, 1, "text_embedding_padding"),
        "cross_attention_dim_t5": needed(shapes, 1, "text_embedder.linear_1.weight"),
        "pooled_projection_dim": needed(shapes, 0, "time_extra_emb.pooler.c_proj.weight"),
        "text_len": needed(shapes, 0, "text_embedding_padding") - t5,
        "text_len_t5": t5,
        "use_style_cond_and_image_meta_size": "time_extra_emb.style_embedder.weight" in shapes,
    }


def _variant(_: Shapes, __: Mapping[str, str], ___: str) -> str:
    return "hunyuan-dit"


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="hunyuan-dit",
        title="a Hunyuan-DiT transformer",
        role="denoiser",
        class_name="HunyuanDiT2DModel",
        own_keys=("blocks.0.default_modulation.1.weight",),
        library_keys=("time_extra_emb.pooler.positional_embedding",),
        convert=_convert,
        config=_config,
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("kl", "tiny"),
            usual_files=("sdxl_vae.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "x_embedder.proj.weight", "pos_embed.proj.weight"),
            config={"scaling_factor": 0.13025, "sample_size": 1024},
            names=("xl",),
        ),
        Slot(
            component="text_encoder",
            layouts=("bert",),
            usual_files=("hunyuan_clip_text_encoder.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "text_embedding_padding"),
            prefixes=("hydit_clip", "text_encoder"),
            tokenizer="bert-hunyuan",
        ),
        Slot(
            component="text_encoder_2",
            layouts=("t5", "umt5"),
            usual_files=("mt5_xl_encoder.safetensors",),
            wanted_width=lambda shapes: side(shapes, 1, "mlp_t5.0.weight", "text_embedder.linear_1.weight"),
            prefixes=("mt5xl", "text_encoder_2"),
            tokenizer="mt5",
        ),
    ),
    variant=_variant,
    scheduler=lambda _: {
        "_class_name": "DDPMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.018,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "steps_offset": 1,
    },
)
