"""The original Stable Diffusion layout: a diffusers checkpoint's weights under the names of a single file.

Written from the original code's module tree (CompVis' and Stability AI's), independently of diffusers' own renaming.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_single_file(
    folder: Path, path: Path, *, leave_out: str = "", metadata: dict[str, str] | None = None
) -> Path:
    """Write a diffusers folder of Stable Diffusion 1, 2, XL or the XL refiner as a single file.

    Args:
        folder: The diffusers folder.
        path: The file.
        leave_out: A component that is not written.
        metadata: The file's metadata.
    """
    parts = {
        "unet": lambda: add_prefix("model.diffusion_model.", convert_unet(load_weights(folder / "unet"))),
        "vae": lambda: add_prefix("first_stage_model.", convert_vae(load_weights(folder / "vae"))),
        "text_encoder": lambda: _first_encoder(folder),
        "text_encoder_2": lambda: _second_encoder(folder),
    }
    merged: Tensors = {}
    for name, part in parts.items():
        if (folder / name).is_dir() and name != leave_out:
            merged |= part()
    save_file({key: value.contiguous().clone() for key, value in merged.items()}, path, metadata)
    return path


def load_weights(folder: Path) -> Tensors:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def add_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def convert_unet(tensors: Tensors, layers: int = 1) -> Tensors:
    """Rename a U-Net's tensors: all blocks are in one list, downsamplers and upsamplers among them.

    Args:
        tensors: The tensors by diffusers' names.
        layers: ``layers_per_block``: 1 in every tiny U-Net, 2 in the real ones.
    """
    return {_unet_key(key, layers): value for key, value in tensors.items()}


def _unet_key(key: str, layers: int) -> str:
    """Rename one key."""
    for old, new in UNET_TOP.items():
        if key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    if found := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", key):
        block, kind, layer, rest = found.groups()
        place = int(block) * (layers + 1) + 1 + int(layer)
        return f"input_blocks.{place}.{_block_key(kind, rest)}"
    if found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.*)", key):
        return f"input_blocks.{(int(found[1]) + 1) * (layers + 1)}.0.op.{found[2]}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key):
        kind, layer, rest = found.groups()
        place = 1 if kind == "attentions" else 2 * int(layer)
        return f"middle_block.{place}.{_resnet_key(rest) if kind == 'resnets' else rest}"
    if found := re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", key):
        block, kind, layer, rest = found.groups()
        return f"output_blocks.{int(block) * (layers + 1) + int(layer)}.{_block_key(kind, rest)}"
    found = re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.*)", key)
    assert found, key
    place = int(found[1]) * (layers + 1) + layers
    return f"output_blocks.{place}.1.conv.{found[2]}"  # index 2 after an attention; the upsampling blocks have none


def _block_key(kind: str, rest: str) -> str:
    return f"0.{_resnet_key(rest)}" if kind == "resnets" else f"1.{rest}"


def _resnet_key(rest: str) -> str:
    name, _, last = rest.rpartition(".")
    return f"{RESNET[name]}.{last}"


def convert_vae(tensors: Tensors) -> Tensors:
    """Rename an autoencoder's tensors: its attention is a 1 x 1 convolution, its decoder counts from the finest
    level."""
    levels = 1 + max(int(key.split(".")[2]) for key in tensors if key.startswith("encoder.down_blocks."))
    return {_vae_key(key, levels): _as_convolution(key, value) for key, value in tensors.items()}


def _vae_key(key: str, levels: int) -> str:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", key)
    key = re.sub(
        r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", key
    )
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", key)
    if found := re.match(r"(.*)mid_block\.attentions\.0\.(.*)\.(\w+)$", key):
        return f"{found[1]}mid.attn_1.{VAE_ATTENTION[found[2]]}.{found[3]}"
    return key


def _as_convolution(key: str, value: torch.Tensor) -> torch.Tensor:
    is_projection = "attentions" in key and value.ndim == 2
    return value[:, :, None, None] if is_projection else value


def _first_encoder(folder: Path) -> Tensors:
    tensors = _with_text_model(load_weights(folder / "text_encoder"))
    if (folder / "text_encoder_2").is_dir():
        return add_prefix("conditioner.embedders.0.transformer.", tensors)
    if '"hidden_act": "gelu"' in (folder / "text_encoder" / "config.json").read_text():
        return add_prefix("cond_stage_model.model.", convert_open_clip(tensors))
    return add_prefix("cond_stage_model.transformer.", tensors)


def _second_encoder(folder: Path) -> Tensors:
    place = 1 if (folder / "text_encoder").is_dir() else 0
    return add_prefix(
        f"conditioner.embedders.{place}.model.", convert_open_clip(load_weights(folder / "text_encoder_2"))
    )


def _with_text_model(tensors: Tensors) -> Tensors:
    """Put the inner model's name before the keys of CLIP's weights, as files have always stored them."""
    return {
        key if key.startswith("text_model.") else f"text_model.{key}": value for key, value in tensors.items()
    }


def convert_open_clip(tensors: Tensors) -> Tensors:
    """Rename a text encoder's tensors to OpenCLIP's: queries, keys and values are one matrix."""
    named: Tensors = {}
    for key, value in tensors.items():
        key = key.removeprefix("text_model.")
        if found := re.match(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)", key):
            whole = f"transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}"
            thirds = named.setdefault(whole, value.new_empty(3, *value.shape))
            thirds["qkv".index(found[2])] = value
        else:
            named[_open_clip_key(key)] = value.T if key == "text_projection.weight" else value
    return {key: value.flatten(0, 1) if "in_proj" in key else value for key, value in named.items()}


def _open_clip_key(key: str) -> str:
    top: Mapping[str, str] = {
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
        "text_projection.weight": "text_projection",
    }
    if key in top:
        return top[key]
    _, _, number, rest = key.split(".", 3)
    name, _, last = rest.rpartition(".")
    return f"transformer.resblocks.{number}.{OPEN_CLIP_LAYER[name]}.{last}"
