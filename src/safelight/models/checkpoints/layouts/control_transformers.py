"""Control networks of transformers, as diffusers saves them, and T2I-Adapters of U-Nets.

Published values: diffusers' defaults, and the configs of InstantX', XLabs', Shakker's, Tencent's and Alibaba's folders.
"""

from __future__ import annotations

import math
import re

from safelight.models.checkpoints.layouts import flux, qwen_image
from safelight.models.checkpoints.layouts.layout import (
    Config,
    NetworkLayout,
    Shapes,
    Tensors,
    count_blocks,
    divided,
    needed,
    side,
    without_none,
)

_ADDED = "controlnet_blocks.0.weight"
_ORIGINAL_FULL = re.compile(r"body\.(\d+)\.(block1|block2|in_conv)\.(.*)")
_ORIGINAL_LIGHT = re.compile(r"body\.(\d+)\.body\.(\d+)\.(.*)")
_BLOCKS_IN_A_LEVEL = 2


def _sd3_config(shapes: Shapes) -> Config:
    blocks = count_blocks(shapes, "transformer_blocks.")
    head = side(shapes, 0, "transformer_blocks.0.attn.norm_q.weight") or 64
    width = needed(shapes, 0, "pos_embed_input.proj.weight")
    inputs = needed(shapes, 1, "pos_embed_input.proj.weight")
    channels = side(shapes, 1, "pos_embed.proj.weight") or 16
    places = side(shapes, 1, "pos_embed.pos_embed")
    text = side(shapes, 1, "context_embedder.weight")
    own_positions = "pos_embed.proj.weight" in shapes
    return {
        "patch_size": needed(shapes, 2, "pos_embed_input.proj.weight"),
        "in_channels": channels,
        "out_channels": channels,
        "num_layers": blocks,
        "attention_head_dim": head,
        "num_attention_heads": divided(width, head),
        "joint_attention_dim": text,
        "caption_projection_dim": side(shapes, 0, "context_embedder.weight") or width,
        "pooled_projection_dim": needed(shapes, 1, "time_text_embed.text_embedder.linear_1.weight"),
        "pos_embed_max_size": math.isqrt(places) if places else 96,
        "extra_conditioning_channels": inputs - channels,
        "dual_attention_layers": [
            block for block in range(blocks) if f"transformer_blocks.{block}.attn2.to_q.weight" in shapes
        ],
        "qk_norm": "rms_norm" if "transformer_blocks.0.attn.norm_q.weight" in shapes else None,
        "use_pos_embed": own_positions,
        "pos_embed_type": "sincos" if own_positions else None,
        "force_zeros_for_pooled_projection": text is not None,  # those of Stability AI read no text
    }


def _flux_config(shapes: Shapes) -> Config:
    like_transformer = dict(shapes)
    like_transformer.setdefault("proj_out.weight", (needed(shapes, 1, "x_embedder.weight"), 0))
    config = flux.flux_config(like_transformer)
    config.pop("out_channels", None)
    return config | {
        "pooled_projection_dim": needed(shapes, 1, "time_text_embed.text_embedder.linear_1.weight"),
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
        "num_mode": side(shapes, 0, "controlnet_mode_embedder.weight"),
        "conditioning_embedding_channels": side(shapes, 0, "input_hint_block.conv_out.weight"),
        "patch_size": 2 if "input_hint_block.conv_out.weight" in shapes else 1,
    }


def _qwen_config(shapes: Shapes) -> Config:
    inputs = needed(shapes, 1, "img_in.weight")
    like_transformer = {**shapes, "proj_out.weight": (inputs, 0)}
    return qwen_image.qwen_config(like_transformer) | {
        "extra_condition_channels": needed(shapes, 1, "controlnet_x_embedder.weight") - inputs,
    }


def _z_image_config(shapes: Shapes) -> Config:
    """The config; the layers that it adds to are told by how many there are: every second or fifth of thirty."""
    head = needed(shapes, 0, "control_layers.0.attention.norm_q.weight")
    layers = count_blocks(shapes, "control_layers.")
    refiners = count_blocks(shapes, "control_noise_refiner.")
    is_control = "control_noise_refiner.0.after_proj.weight" in shapes
    return without_none(
        {
            "all_patch_size": [2],
            "all_f_patch_size": [1],
            "control_in_dim": needed(shapes, 1, "control_all_x_embedder.2-1.weight") // 4,
            "dim": needed(shapes, 0, "control_all_x_embedder.2-1.weight"),
            "n_heads": needed(shapes, 0, "control_layers.0.attention.to_q.weight") // head,
            "n_kv_heads": needed(shapes, 0, "control_layers.0.attention.to_k.weight") // head,
            "n_refiner_layers": refiners or 2,
            "control_layers_places": list(range(0, 30, 30 // layers)) if layers in (6, 15) else None,
            "control_refiner_layers_places": list(range(refiners)) if is_control else None,
            "add_control_noise_refiner": "control_noise_refiner" if is_control else None,
        }
    )


def _hunyuan_config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "pos_embed.proj.weight")
    head = needed(shapes, 0, "blocks.0.attn1.norm_q.weight")
    t5 = needed(shapes, 0, "time_extra_emb.pooler.positional_embedding") - 1
    return {
        "sample_size": 128,
        "patch_size": needed(shapes, 2, "pos_embed.proj.weight"),
        "in_channels": needed(shapes, 1, "pos_embed.proj.weight"),
        "hidden_size": width,
        "transformer_num_layers": 2 * (count_blocks(shapes, "blocks.") + 1),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "mlp_ratio": needed(shapes, 0, "blocks.0.ff.net.0.proj.weight") / width,
        "cross_attention_dim": needed(shapes, 1, "text_embedding_padding"),
        "cross_attention_dim_t5": needed(shapes, 1, "text_embedder.linear_1.weight"),
        "pooled_projection_dim": needed(shapes, 0, "time_extra_emb.pooler.c_proj.weight"),
        "text_len": needed(shapes, 0, "text_embedding_padding") - t5,
        "text_len_t5": t5,
        "use_style_cond_and_image_meta_size": "time_extra_emb.style_embedder.weight" in shapes,
    }


def _is_light(shapes: Shapes) -> bool:
    return any(name.endswith(".out_conv.weight") for name in shapes)


def _adapter_inputs(shapes: Shapes) -> tuple[int, int]:
    """The channels of the picture that an adapter reads, and the factor by which it makes it smaller."""
    inputs = side(shapes, 1, "adapter.conv_in.weight", "conv_in.weight") or side(
        shapes, 1, "adapter.body.0.in_conv.weight", "body.0.in_conv.weight"
    )
    sizes = {64: (1, 8), 192: (3, 8), 256: (1, 16), 768: (3, 16)}
    return sizes.get(inputs or 0, (0, 0))


def _adapter_config(shapes: Shapes) -> Config:
    channels, factor = _adapter_inputs(shapes)
    levels = count_blocks(shapes, "adapter.body.")
    light = _is_light(shapes)
    last = "out_conv" if light else "resnets.0.block2"
    return {
        "in_channels": channels,
        "channels": [needed(shapes, 0, f"adapter.body.{level}.{last}.weight") for level in range(levels)],
        "num_res_blocks": count_blocks(shapes, "adapter.body.0.resnets."),
        "downscale_factor": factor,
        "adapter_type": "light_adapter" if light else "full_adapter_xl" if factor == 16 else "full_adapter",
    }


def _convert_adapter(tensors: Tensors) -> Tensors:
    """Give the tensors of the authors' adapters diffusers' names."""
    return {f"adapter.{_adapter_name(name)}": tensor for name, tensor in tensors.items()}


def _adapter_name(name: str) -> str:
    if found := _ORIGINAL_LIGHT.fullmatch(name):
        return f"body.{found[1]}.resnets.{found[2]}.{found[3]}"
    if (found := _ORIGINAL_FULL.fullmatch(name)) is None:
        return name
    level, place = divmod(int(found[1]), _BLOCKS_IN_A_LEVEL)
    if found[2] == "in_conv":
        return f"body.{level}.in_conv.{found[3]}"
    return f"body.{level}.resnets.{place}.{found[2]}.{found[3]}"


def _is_adapter(shapes: Shapes, factor: int) -> bool:
    named = any(name.endswith((".block1.weight",)) and "body." in name for name in shapes)
    return named and _adapter_inputs(shapes)[1] == factor


def _adapter_layout(family: str, title: str, factor: int) -> NetworkLayout:
    return NetworkLayout(
        name=f"t2i-adapter-{family}",
        title=f"a T2I-Adapter of {title}",
        role="control",
        class_name="T2IAdapter",
        own_keys=("body.0.block1.weight", "body.0.body.0.block1.weight"),
        library_keys=("adapter.body.0.resnets.0.block1.weight",),
        fits=lambda shapes: _is_adapter(shapes, factor),
        convert=_convert_adapter,
        config=_adapter_config,
    )


TRANSFORMER_CONTROLS: tuple[NetworkLayout, ...] = (
    NetworkLayout(
        name="controlnet-sd3",
        title="a ControlNet of Stable Diffusion 3",
        role="control",
        class_name="SD3ControlNetModel",
        library_keys=("pos_embed_input.proj.weight",),
        fits=lambda shapes: _ADDED in shapes,
        config=_sd3_config,
        required=("num_attention_heads",),
    ),
    *(
        NetworkLayout(
            name=name,
            title=title,
            role="control",
            class_name="FluxControlNetModel",
            library_keys=(_ADDED,),
            fits=lambda shapes, is_union=is_union: (  # type: ignore[misc]  # mypy cannot infer it
                "controlnet_x_embedder.weight" in shapes
                and "x_embedder.weight" in shapes
                and ("controlnet_mode_embedder.weight" in shapes) is is_union
            ),
            config=_flux_config,
            required=("axes_dims_rope",),
        )
        for name, title, is_union in (
            ("controlnet-flux", "a ControlNet of Flux", False),
            ("controlnet-union-flux", "a union ControlNet of Flux", True),
        )
    ),
    NetworkLayout(
        name="controlnet-qwen-image",
        title="a ControlNet of Qwen-Image",
        role="control",
        class_name="QwenImageControlNetModel",
        library_keys=("controlnet_x_embedder.weight",),
        fits=lambda shapes: "transformer_blocks.0.img_mod.1.weight" in shapes,
        config=_qwen_config,
        required=("axes_dims_rope",),
    ),
    NetworkLayout(
        name="controlnet-z-image",
        title="a ControlNet of Z-Image",
        role="control",
        class_name="ZImageControlNetModel",
        library_keys=("control_all_x_embedder.2-1.weight",),
        config=_z_image_config,
        required=("control_layers_places",),
    ),
    NetworkLayout(
        name="controlnet-hunyuan-dit",
        title="a ControlNet of Hunyuan-DiT",
        role="control",
        class_name="HunyuanDiT2DControlNetModel",
        library_keys=("input_block.weight",),
        fits=lambda shapes: _ADDED in shapes and "time_extra_emb.pooler.positional_embedding" in shapes,
        config=_hunyuan_config,
    ),
    _adapter_layout("sd1", "Stable Diffusion 1", 8),
    _adapter_layout("sdxl", "Stable Diffusion XL", 16),
)
