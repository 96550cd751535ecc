"""Tiny IP-Adapters and image encoders with random weights, in the layouts of their authors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
    IPAdapterTimeImageProjection,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipVisionConfig,
    SiglipVisionModel,
)

FEATURES, EMBEDDING, SIDE = 32, 24, 32
"""Widths of the tiny CLIP's features and of its embedding, and the pixels of its pictures."""
SIGLIP_FEATURES = 48
TOKENS = 4

_PLUS_NAMES = {
    "ln0.": "0.norm1.",
    "ln1.": "0.norm2.",
    "attn.to_q.": "0.to_q.",
    "attn.to_kv.": "0.to_kv.",
    "attn.to_out.0.": "0.to_out.",
    "ff.0.": "1.0.",
    "ff.1.net.0.proj.": "1.1.",
    "ff.1.net.2.": "1.3.",
}
"""diffusers' names of a resampler's layers, and those of its authors."""
_TIMED_NAMES = {
    **{name: other for name, other in _PLUS_NAMES.items() if not name.startswith("ff")},
    "adaln_norm.": "1.0.",
    "ff.net.0.proj.": "1.1.",
    "ff.net.2.": "1.3.",
    "adaln_proj.": "2.1.",
}
_FULL_NAMES = {"ff.net.0.proj.": "proj.0.", "ff.net.2.": "proj.2.", "norm.": "proj.3."}


def clip_vision(folder: Path, *, seed: int = 0) -> Path:
    """A CLIP image encoder, as transformers saves it."""
    config = CLIPVisionConfig(
        hidden_size=FEATURES,
        intermediate_size=40,
        projection_dim=EMBEDDING,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=8,
    )
    return _save(CLIPVisionModelWithProjection, config, folder, seed)


def siglip_vision(folder: Path, *, seed: int = 0) -> Path:
    """A SigLIP image encoder, as transformers saves it."""
    config = SiglipVisionConfig(
        hidden_size=SIGLIP_FEATURES,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=8,
    )
    return _save(SiglipVisionModel, config, folder, seed)


def _save(kind: type, config: object, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind(config)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(3)  # so that pictures are told apart
    network.save_pretrained(folder)
    return folder


def unet_adapter(checkpoint: Path, path: Path, kind: str = "plain", *, seed: int = 0) -> Path:
    """An IP-Adapter for a tiny U-Net.

    Args:
        checkpoint: The checkpoint.
        path: The file.
        kind: plain, plus or full.
        seed: Of its weights.
    """
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", local_files_only=True)
    width = unet.config["cross_attention_dim"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "plain":
            projection: nn.Module = ImageProjection(EMBEDDING, width, TOKENS)
            names = {"image_embeds.": "proj."}
        elif kind == "plus":
            projection = IPAdapterPlusImageProjection(
                embed_dims=FEATURES, output_dims=width, hidden_dims=64, heads=1, num_queries=TOKENS
            )
            names = _PLUS_NAMES
        else:
            projection, names = IPAdapterFullImageProjection(FEATURES, width), _FULL_NAMES
        tensors = _projection(projection, names)
        cross = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
        for number, name in enumerate(cross):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for part in "kv":
                weight = torch.randn(layer.to_k.out_features, width) / width**0.5
                tensors[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = weight
    return _write(tensors, path)


def flux_adapter(checkpoint: Path, path: Path, layout: str = "xlabs", *, seed: int = 0) -> Path:
    """An IP-Adapter for a tiny Flux.

    Args:
        checkpoint: The checkpoint.
        path: The file.
        layout: xlabs, or the authors' of those for U-Nets.
        seed: Of its weights.
    """
    network = FluxTransformer2DModel.from_pretrained(checkpoint / "transformer", local_files_only=True)
    width = network.config["joint_attention_dim"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tensors = _projection(ImageProjection(EMBEDDING, width, TOKENS), {"image_embeds.": "proj."})
        for number in range(network.config["num_layers"]):
            for part in "kv":
                layer = f"ip_adapter.{number}.to_{part}_ip"
                tensors[f"{layer}.weight"] = torch.randn(network.inner_dim, width) / width**0.5
                tensors[f"{layer}.bias"] = torch.randn(network.inner_dim) * 0.1
    if layout == "xlabs":
        tensors = {_xlabs_name(name): tensor for name, tensor in tensors.items()}
    return _write(tensors, path)


def _xlabs_name(name: str) -> str:
    if name.startswith("image_proj."):
        return name.replace("image_proj.", "ip_adapter_proj_model.")
    _, number, part, end = name.split(".")
    return f"double_blocks.{number}.processor.ip_adapter_double_stream_{part[3]}_proj.{end}"


def sd3_adapter(checkpoint: Path, path: Path, *, seed: int = 0) -> Path:
    """An IP-Adapter for a tiny Stable Diffusion 3, in InstantX' layout."""
    network = SD3Transformer2DModel.from_pretrained(checkpoint / "transformer", local_files_only=True)
    head, heads = network.config["attention_head_dim"], network.config["num_attention_heads"]
    width = head * heads
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        projection = IPAdapterTimeImageProjection(
            embed_dim=SIGLIP_FEATURES, output_dim=width, hidden_dim=64, heads=1, num_queries=TOKENS, timestep_in_dim=16
        )  # fmt: skip
        tensors = _projection(projection, _TIMED_NAMES)
        for number, _ in enumerate(network.attn_processors):
            layer = SD3IPAdapterJointAttnProcessor2_0(width, width, head, timesteps_emb_dim=64)
            tensors |= {f"ip_adapter.{number}.{name}": value for name, value in layer.state_dict().items()}
    return _write(tensors, path)


def _projection(projection: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Its tensors by the authors' names, in which keys and values are one matrix."""
    tensors = dict(projection.state_dict())
    for name in [name for name in tensors if ".attn.to_k." in name]:
        key, value = tensors.pop(name), tensors.pop(name.replace("to_k", "to_v"))
        tensors[name.replace("to_k", "to_kv")] = torch.cat([key, value])
    renamed = {}
    for name, tensor in tensors.items():
        new = name
        for own, other in names.items():
            start = name.find(own) if name.startswith("layers.") else (0 if name.startswith(own) else -1)
            if start >= 0:
                new = name[:start] + other + name[start + len(own) :]
                break
        renamed[f"image_proj.{new}"] = tensor
    return renamed


def _write(tensors: Mapping[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path
