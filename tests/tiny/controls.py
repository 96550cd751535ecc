"""Tiny control networks with random weights, each made for a tiny checkpoint."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, ControlNetXSAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from tests.tiny.original_layout import convert_unet, load_weights

WIDTHS = (4, 8, 12, 16)
"""Widths of the layers that read the picture: each after the first halves it, as often as the tiny autoencoders do."""

LLLITE_NAMES = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": "input_blocks_1_1_transformer_blocks_0_attn1_to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_q": "middle_block_1_transformer_blocks_0_attn2_to_q",
}
"""The layers that a tiny Control-LLLite changes, by diffusers' names, with those of the original code."""
LLLITE_LAYERS = dict(zip(LLLITE_NAMES, (2, 4), strict=True))
"""By how much the second layer makes the picture smaller; the first one does four times."""


def controlnet(checkpoint: Path, folder: Path, *, seed: int = 0) -> Path:
    """A ControlNet for a tiny U-Net, as a diffusers folder."""
    return _write(lambda unet: ControlNetModel.from_unet(unet, "rgb", WIDTHS), checkpoint, folder, seed)


def union(checkpoint: Path, folder: Path, *, seed: int = 0) -> Path:
    """A union ControlNet for a tiny U-Net of Stable Diffusion XL."""

    def build(unet: UNet2DConditionModel) -> ControlNetUnionModel:
        config = dict(ControlNetModel.from_unet(unet, "rgb", WIDTHS, load_weights_from_unet=False).config)
        size = {"num_control_type": 8, "num_trans_channel": 16, "num_trans_head": 2, "num_proj_channel": 16}
        return ControlNetUnionModel.from_config(config | size)

    return _write(build, checkpoint, folder, seed)


def write_single_file(folder: Path, path: Path, prefix: str = "control_model.") -> Path:
    """Write a ControlNet's folder as one file with the names of its authors' code, and its config beside it.

    Args:
        folder: The folder.
        path: The file.
        prefix: What its keys begin with.
    """
    renamed = {prefix + _authors_key(key): value for key, value in load_weights(folder).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(renamed, path)
    path.with_suffix(".json").write_text((folder / "config.json").read_text())
    return path


def _authors_key(key: str) -> str:
    if key.startswith("controlnet_down_blocks."):
        _, number, last = key.split(".")
        return f"zero_convs.{number}.0.{last}"
    if key.startswith("controlnet_mid_block."):
        return key.replace("controlnet_mid_block.", "middle_block_out.0.")
    if key.startswith("controlnet_cond_embedding."):
        _, layer, *rest = key.split(".")
        number = {"conv_in": 0, "conv_out": 14}.get(layer)
        if number is None:
            number, rest = 2 * (int(rest[0]) + 1), rest[1:]
        return f"input_hint_block.{number}.{rest[-1]}"
    return next(iter(convert_unet({key: torch.empty(0)})))


def _write(build: Any, checkpoint: Path, folder: Path, seed: int) -> Path:
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", local_files_only=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(unet)
        randomise(network)
    network.save_pretrained(folder, safe_serialization=True)
    return folder


def randomise(network: torch.nn.Module) -> None:
    """Fill what training begins with zeros, so that the network has an effect."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)


def transformer_control(
    class_name: str, checkpoint: Path, folder: Path, *, seed: int = 0, **config: Any
) -> Path:
    """A control network for a tiny transformer, with one block of each kind.

    Args:
        class_name: Its class in diffusers.
        checkpoint: The checkpoint.
        folder: Where it is written.
        seed: Of its weights.
        config: Values of its config that are not the transformer's.
    """
    kind = getattr(diffusers, class_name)
    own = json.loads((checkpoint / "transformer" / "config.json").read_text())
    known = {name for name in inspect.signature(kind.__init__).parameters if name != "self"}
    shared = {name: value for name, value in own.items() if name in known}
    if "transformer_num_layers" in known:
        shared["transformer_num_layers"] = own["num_layers"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind(**{**shared, **config})
        randomise(network)
    network.save_pretrained(folder, safe_serialization=True)
    return folder


def adapter(checkpoint: Path, folder: Path, *, seed: int = 0) -> Path:
    """A T2I-Adapter for a tiny U-Net."""
    own = json.loads((checkpoint / "unet" / "config.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = diffusers.T2IAdapter(
            in_channels=3, channels=own["block_out_channels"], num_res_blocks=2, downscale_factor=8
        )
    network.save_pretrained(folder, safe_serialization=True)
    return folder


def lllite(checkpoint: Path, path: Path, *, seed: int = 0) -> Path:
    """A Control-LLLite for two layers of a tiny U-Net of Stable Diffusion XL, as kohya's trainer writes it."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", local_files_only=True)
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, module in unet.named_modules():
        if name in LLLITE_LAYERS:
            width = module.in_features
            shapes = {
                "conditioning1.0": (4, 3, 4, 4),
                "conditioning1.2": (8, 4, LLLITE_LAYERS[name], LLLITE_LAYERS[name]),
                "down.0": (6, width),
                "mid.0": (6, 14),
                "up.0": (width, 6),
            }
            for part, shape in shapes.items():
                prefix = f"lllite_unet_{LLLITE_NAMES[name]}.{part}"
                tensors[f"{prefix}.weight"] = torch.randn(shape, generator=generator) * 0.3
                tensors[f"{prefix}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    assert tensors
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path.with_suffix(".safetensors"))
    return path


def control_lora(checkpoint: Path, path: Path, folder: Path, *, rank: int = 2, seed: int = 0) -> None:
    """A Control-LoRA for a tiny U-Net, as Stability AI's files are, and the ControlNet that it makes of it.

    Args:
        checkpoint: The checkpoint.
        path: Where the Control-LoRA is written.
        folder: Where the ControlNet is written, with the changes merged into the weights.
        rank: Of the changes.
        seed: Of all tensors.
    """
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", local_files_only=True)
    own, generator = unet.state_dict(), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(unet, "rgb", WIDTHS)
        randomise(network)
    merged, tensors = network.state_dict(), {"lora_controlnet": torch.empty(0)}
    for name, weight in merged.items():
        key = _authors_key(name)
        if name in own and weight.ndim >= 2:
            ones = [1] * (weight.ndim - 2)
            up = torch.randn(len(weight), rank, *ones, generator=generator) * 0.1
            down = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.1
            merged[name] = weight + (up.flatten(1) @ down.flatten(1)).view(weight.shape)
            layer = key.removesuffix(".weight")
            tensors |= {f"{layer}.up": up, f"{layer}.down": down}
        else:
            merged[name] = weight + 0.1 * torch.randn(weight.shape, generator=generator)
            tensors[key] = merged[name].clone()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    network.load_state_dict(merged)
    network.save_pretrained(folder, safe_serialization=True)


def two_layers(checkpoint: Path, folder: Path, *, seed: int = 0) -> Path:
    """A tiny checkpoint of Stable Diffusion with two residual blocks in each level, as the real ones have."""
    shutil.copytree(checkpoint, folder)
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", local_files_only=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        deeper = UNet2DConditionModel.from_config({**unet.config, "layers_per_block": 2})
    shutil.rmtree(folder / "unet")
    deeper.save_pretrained(folder / "unet", safe_serialization=True)
    return folder


def xs(checkpoint: Path, folder: Path, *, seed: int = 0) -> Path:
    """A ControlNet-XS for a tiny U-Net with two residual blocks in each level."""

    def build(unet: UNet2DConditionModel) -> ControlNetXSAdapter:
        heads = unet.config.attention_head_dim
        return ControlNetXSAdapter.from_unet(
            unet, size_ratio=0.5, num_attention_heads=heads, conditioning_embedding_out_channels=WIDTHS
        )

    return _write(build, checkpoint, folder, seed)
