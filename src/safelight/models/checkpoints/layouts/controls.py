"""Control networks: the ControlNets of U-Nets, in their authors' layout and in diffusers'.

Published values: diffusers' defaults of ControlNetModel and ControlNetUnionModel, and the configs of lllyasviel's,
diffusers' and xinsir's folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from safelight.models.checkpoints.layouts import stable_diffusion
from safelight.models.checkpoints.layouts.layout import (
    Config,
    NetworkLayout,
    Shapes,
    Tensors,
    count_blocks,
    needed,
)

AUTHORS_PREFIX = "control_model."
"""Before the keys of ControlNets that were saved with their checkpoint; files of extracted ones have none."""
_EMBEDDING = "controlnet_cond_embedding."
_TASKS = "task_embedding"
_HINT_LAYERS = 8
"""Convolutions that read the control picture in the authors' layout; their numbers are even."""


def _unet_config(shapes: Shapes) -> Config:
    """What a ControlNet has in common with its U-Net, by diffusers' names."""
    like_unet = dict(shapes) | {"conv_out.weight": shapes["conv_in.weight"]}
    config = stable_diffusion.unet_config(like_unet)
    for name in ("out_channels", "up_block_types", "time_cond_proj_dim"):
        config.pop(name, None)
    if not any(name.startswith("mid_block.attentions.") for name in shapes):
        config["mid_block_type"] = "UNetMidBlock2D"
    return config | {
        "conditioning_channels": needed(shapes, 1, f"{_EMBEDDING}conv_in.weight"),
        "conditioning_embedding_out_channels": embedding_widths(shapes),
    }


def embedding_widths(shapes: Shapes) -> list[int]:
    """The widths of the layers that read the control picture."""
    blocks = count_blocks(shapes, f"{_EMBEDDING}blocks.")
    odd = [needed(shapes, 0, f"{_EMBEDDING}blocks.{block}.weight") for block in range(1, blocks, 2)]
    return [needed(shapes, 0, f"{_EMBEDDING}conv_in.weight"), *odd]


def _union_config(shapes: Shapes) -> Config:
    tasks, width = shapes[_TASKS]
    return _unet_config(shapes) | {
        "num_control_type": tasks,
        "num_trans_channel": width,
        "num_trans_layer": count_blocks(shapes, "transformer_layes."),  # sic
        "num_proj_channel": needed(shapes, 0, "spatial_ch_projs.weight"),
    }


def library_names(tensors: Tensors) -> Tensors:
    """The authors' tensors by diffusers' names."""
    from safelight.models.checkpoints.layouts.conversion import convert_with

    numbers = [
        int(name.split(".")[1]) for name in tensors if name.startswith("input_blocks.") and ".0.op." in name
    ]
    converted = convert_with(
        "convert_controlnet_checkpoint", tensors, {"layers_per_block": min(numbers) - 1 if numbers else 2}
    )
    for layer, number in (("linear_1", 0), ("linear_2", 2)):  # Stable Diffusion XL's
        for part in ("weight", "bias"):
            if (tensor := tensors.get(f"label_emb.0.{number}.{part}")) is not None:
                converted[f"add_embedding.{layer}.{part}"] = tensor
    return converted


def _bare_layout(family: str, title: str, unet: NetworkLayout) -> NetworkLayout:
    return NetworkLayout(
        name=f"controlnet-{family}",
        title=f"a ControlNet of {title}",
        role="control",
        class_name="ControlNetModel",
        own_keys=("input_hint_block.0.weight",),
        library_keys=(f"{_EMBEDDING}conv_in.weight",),
        fits=_of_unet(unet, is_union=False),
        convert=library_names,
        config=lambda shapes: _unet_config(shapes) | _FIXED.get(family, {}),
        required=("attention_head_dim", "norm_num_groups"),
    )


def _of_unet(unet: NetworkLayout, *, is_union: bool) -> Callable[[Shapes], bool]:
    return lambda shapes: (
        (_TASKS in shapes) == is_union
        and any(name.startswith(("zero_convs.", "controlnet_down_blocks.")) for name in shapes)
        and (unet.fits(shapes) or (unet is stable_diffusion.SDXL.denoiser and _has_no_attention(shapes)))
    )


def _has_no_attention(shapes: Shapes) -> bool:
    """Whether this is one of diffusers' small ControlNets of Stable Diffusion XL."""
    is_xl = "label_emb.0.0.weight" in shapes or "add_embedding.linear_1.weight" in shapes
    return is_xl and not any("attn2.to_k." in name for name in shapes)


_FIXED: Mapping[str, Config] = {"sd2": {"upcast_attention": True}}

UNION_SDXL = NetworkLayout(
    name="controlnet-union-sdxl",
    title="a union ControlNet of Stable Diffusion XL",
    role="control",
    class_name="ControlNetUnionModel",
    library_keys=(_TASKS,),
    fits=_of_unet(stable_diffusion.SDXL.denoiser, is_union=True),
    config=_union_config,
    required=("attention_head_dim", "norm_num_groups"),
)

UNET_CONTROLS: tuple[NetworkLayout, ...] = (
    UNION_SDXL,
    _bare_layout("sd1", "Stable Diffusion 1", stable_diffusion.SD1.denoiser),
    _bare_layout("sd2", "Stable Diffusion 2", stable_diffusion.SD2.denoiser),
    _bare_layout("sdxl", "Stable Diffusion XL", stable_diffusion.SDXL.denoiser),
)
