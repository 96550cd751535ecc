"""HunyuanImage 2.1 and its distilled version, which has embeddings of the guidance and of a second time.

diffusers' table of single files does not have it. The names are those that diffusers'
scripts/convert_hunyuan_image_to_diffusers.py reads, with queries, keys and values apart (Tencent's files) or in one
tensor (ComfyUI's), which that script takes apart too. Published values: the same script; the shifts of the schedule and
the steps at which adaptive guidance begins: Tencent's README and its HunyuanImage21Pipeline.
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
    flow_scheduler,
    needed,
    side,
    swap_halves,
    without_none,
)
from safelight.models.checkpoints.layouts.qwen_image import QWEN_ENCODER_FILES

AXES = {128: [64, 64]}

_NAMES = (
    (r"byt5_in\.layernorm\.", "context_embedder_2.norm."),
    (r"byt5_in\.fc([123])\.", r"context_embedder_2.linear_\1."),
    (r"img_in\.", "x_embedder."),
    (r"txt_in\.input_embedder\.", "context_embedder.proj_in."),
    (r"txt_in\.t_embedder\.mlp\.", "context_embedder.time_text_embed.timestep_embedder.mlp."),
    (r"txt_in\.c_embedder\.", "context_embedder.time_text_embed.text_embedder."),
    (r"txt_in\.individual_token_refiner\.blocks\.", "context_embedder.token_refiner.refiner_blocks."),
    (r"time_in\.", "time_guidance_embed.timestep_embedder."),
    (r"time_r_in\.", "time_guidance_embed.timestep_embedder_r."),
    (r"guidance_in\.", "time_guidance_embed.guidance_embedder."),
    (r"double_blocks\.", "transformer_blocks."),
    (r"single_blocks\.", "single_transformer_blocks."),
    (r"final_layer\.linear\.", "proj_out."),
    (r"final_layer\.adaLN_modulation\.1\.", "norm_out.linear."),
)
"""The beginnings of names."""
_REFINER = {"adaLN_modulation.1": "norm_out.linear", "self_attn_proj": "attn.to_out.0"}
_DOUBLE = {
    "img_mod.linear": "norm1.linear",
    "txt_mod.linear": "norm1_context.linear",
    "img_attn_q_norm": "attn.norm_q",
    "img_attn_k_norm": "attn.norm_k",
    "txt_attn_q_norm": "attn.norm_added_q",
    "txt_attn_k_norm": "attn.norm_added_k",
    "img_attn_proj": "attn.to_out.0",
    "txt_attn_proj": "attn.to_add_out",
    "img_attn_q": "attn.to_q",
    "img_attn_k": "attn.to_k",
    "img_attn_v": "attn.to_v",
    "txt_attn_q": "attn.add_q_proj",
    "txt_attn_k": "attn.add_k_proj",
    "txt_attn_v": "attn.add_v_proj",
}
_SINGLE = {
    "modulation.linear": "norm.linear",
    "q_norm": "attn.norm_q",
    "k_norm": "attn.norm_k",
    "linear1_q": "attn.to_q",
    "linear1_k": "attn.to_k",
    "linear1_v": "attn.to_v",
    "linear1_mlp": "proj_mlp",
    "linear2.fc": "proj_out",
    "linear2": "proj_out",
}
_INSIDE = _REFINER | _DOUBLE | _SINGLE
_FUSED = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "self_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
}
_FEED_FORWARD = {
    "img_mlp": "ff",
    "txt_mlp": "ff_context",
    "mlp": "ff",
}


def _convert(tensors: Tensors) -> Tensors:
    converted: Tensors = {}
    for name, tensor in tensors.items():
        target = _beginning(name)
        block, inside, kind = _parts(target)
        if inside in _FUSED:
            for part, piece in zip(_FUSED[inside], tensor.chunk(3, 0), strict=True):
                converted[f"{block}{part}.{kind}"] = piece
        elif (
            inside == "linear1"
        ):  # of a single block: queries, keys, values and the feed-forward layer's input
            width = tensors[name.replace("linear1", "linear2")].shape[0]
            sizes = (width, width, width, tensor.shape[0] - 3 * width)
            parts = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
            for part, piece in zip(parts, tensor.split(sizes), strict=True):
                converted[f"{block}{part}.{kind}"] = piece
        else:
            renamed = f"{block}{_inside(inside)}.{kind}"
            converted[renamed] = swap_halves(tensor) if renamed.startswith("norm_out.") else tensor
    return converted


def _beginning(name: str) -> str:
    for pattern, target in _NAMES:
        renamed, count = re.subn(f"^{pattern}", target, name)
        if count:
            return renamed
    return name


def _parts(name: str) -> tuple[str, str, str]:
    """The block of a tensor with the dot after it, the module in it, and weight or bias."""
    module, _, kind = name.rpartition(".")
    if not (module and kind):
        raise KeyError(name)
    found = re.match(r".*blocks\.\d{1,9}\.", module)
    block = found[0] if found else ""
    return block, module.removeprefix(block), kind


def _inside(module: str) -> str:
    """A module's name in diffusers, without its block's."""
    if module in _INSIDE:
        return _INSIDE[module]
    if found := re.fullmatch(r"(img_mlp|txt_mlp|mlp)\.fc([12])", module):
        layer = "net.0.proj" if found[2] == "1" else "net.2"
        return f"{_FEED_FORWARD[found[1]]}.{layer}"
    if found := re.fullmatch(r"(.*)\.mlp\.([02])", module):
        return f"{found[1]}.linear_{1 if found[2] == '0' else 2}"
    return module


def _config(shapes: Shapes) -> Config:
    width = needed(shapes, 0, "x_embedder.proj.weight")
    head = needed(shapes, 0, "transformer_blocks.0.attn.norm_q.weight")
    refiner = "context_embedder.token_refiner.refiner_blocks."
    patch = list(shapes["x_embedder.proj.weight"][2:])
    outputs = needed(shapes, 0, "proj_out.weight")
    for length in patch:
        outputs //= length
    return without_none(
        {
            "in_channels": needed(shapes, 1, "x_embedder.proj.weight"),
            "out_channels": outputs,
            "num_attention_heads": width // head,
            "attention_head_dim": head,
            "num_layers": count_blocks(shapes, "transformer_blocks."),
            "num_single_layers": count_blocks(shapes, "single_transformer_blocks."),
            "num_refiner_layers": count_blocks(shapes, refiner),
            "mlp_ratio": needed(shapes, 0, "single_transformer_blocks.0.proj_mlp.weight") / width,
            "patch_size": patch,
            "guidance_embeds": "time_guidance_embed.guidance_embedder.linear_1.weight" in shapes,
            "use_meanflow": "time_guidance_embed.timestep_embedder_r.linear_1.weight" in shapes,
            "text_embed_dim": needed(shapes, 1, "context_embedder.proj_in.weight"),
            "text_embed_2_dim": side(shapes, 1, "context_embedder_2.linear_1.weight"),
            "rope_axes_dim": AXES.get(head),
        }
    )


def _is_flat(shapes: Shapes) -> bool:
    """Whether it is no model for video, nor the refiner: those have patches in time too."""
    return len(shapes.get("img_in.proj.weight", shapes.get("x_embedder.proj.weight", ()))) == 4


def _variant(shapes: Shapes, _metadata: Mapping[str, str], _name: str) -> str:
    guided = any(
        name.startswith(("guidance_in.", "time_guidance_embed.guidance_embedder.")) for name in shapes
    )
    return "hunyuan-image-distilled" if guided else "hunyuan-image"


def _guiders(variant: str) -> dict[str, Config]:
    """Adaptive guidance begins at the fifth step, and for text in the picture at the 38th."""
    if variant == "hunyuan-image-distilled":
        return {}
    kind = "AdaptiveProjectedMixGuidance"
    return {
        name: {"_class_name": kind, "guidance_scale": 3.5, "adaptive_projected_guidance_start_step": step}
        for name, step in (("guider", 5), ("ocr_guider", 38))
    }


LAYOUT = FamilyLayout(
    denoiser=NetworkLayout(
        name="hunyuan-image",
        title="a HunyuanImage 2.1 transformer",
        role="denoiser",
        class_name="HunyuanImageTransformer2DModel",
        own_keys=("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.weight",),
        library_keys=("context_embedder.token_refiner.refiner_blocks.0.norm_out.linear.weight",),
        fits=_is_flat,
        convert=_convert,
        config=_config,
        required=("rope_axes_dim",),
    ),
    slots=(
        Slot(
            component="vae",
            layouts=("hunyuan-image-vae",),
            usual_files=("hunyuan_image_2.1_vae_fp16.safetensors",),
            wanted_width=lambda shapes: side(shapes, 0, "final_layer.linear.weight", "proj_out.weight"),
            config={"scaling_factor": 0.75289, "sample_size": 384},
        ),
        Slot(
            component="text_encoder",
            layouts=("qwen2.5-vl",),
            usual_files=QWEN_ENCODER_FILES,
            wanted_width=lambda shapes: side(
                shapes, 1, "txt_in.input_embedder.weight", "context_embedder.proj_in.weight"
            ),
            prefixes=("qwen25_7b", "qwen2.5", "text_encoder"),
            tokenizer="qwen2",
        ),
        Slot(
            component="text_encoder_2",
            layouts=("t5",),
            usual_files=("byt5_small_glyphxl_fp16.safetensors",),
            wanted_width=lambda shapes: side(
                shapes, 1, "byt5_in.fc1.weight", "context_embedder_2.linear_1.weight"
            ),
            prefixes=("byt5", "text_encoder_2"),
            tokenizer="byt5",
            names=("byt5", "glyph"),
        ),
    ),
    variant=_variant,
    scheduler=lambda variant: flow_scheduler(shift=4.0 if variant.endswith("distilled") else 5.0),
    guiders=_guiders,
)
