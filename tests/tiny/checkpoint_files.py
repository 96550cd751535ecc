"""Tiny checkpoints as weights files: whole ones and parts, in the authors' layout or in diffusers' names."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.tiny import components
from tests.tiny.original_layout import Tensors, convert_vae, load_weights
from tests.tiny.original_transformers import (
    TRANSFORMERS,
    deep_compression_autoencoder,
    flux2_autoencoder,
    hunyuan_image_autoencoder,
    qwen21_autoencoder,
    wan_autoencoder,
)

ENCODERS: Mapping[str, Sequence[str]] = {
    "flux": ("clip_l", "t5xxl"),
    "flux-schnell": ("clip_l", "t5xxl"),
    "flux-fill": ("clip_l", "t5xxl"),
    "sd3": ("clip_l", "clip_g", "t5xxl"),
    "sd3-35-medium": ("clip_l", "clip_g", "t5xxl"),
    "qwen-image": ("qwen25_7b",),
    "z-image": ("qwen3_4b",),
    "z-image-turbo": ("qwen3_4b",),
    "chroma": ("t5xxl",),
    "lumina2": ("gemma2_2b",),
    "sana": ("gemma2_2b",),
    "auraflow": ("pile_t5xl",),
    "hunyuan-dit": ("hydit_clip", "mt5xl"),
    "flux2": ("mistral3_24b",),
    "flux2-klein": ("qwen3_4b",),
    "flux2-klein-distilled": ("qwen3_4b",),
    "pixart-alpha": ("t5xxl",),
    "pixart-sigma": ("t5xxl",),
    "cogview4": ("glm4_9b",),
    "krea2": ("qwen3vl_4b",),
    "hidream": ("clip_l", "clip_g", "t5xxl", "llama"),
    "ernie-image": ("ministral3_3b",),
    "kandinsky5": ("qwen25_7b", "clip_l"),
    "hunyuan-image": ("qwen25_7b", "byt5"),
    "hunyuan-image-distilled": ("qwen25_7b", "byt5"),
    "qwen-image-21": ("qwen3vl_8b",),
}
"""ComfyUI's names of the text encoders in files with everything, in the order of the pipelines."""


def original_transformer(name: str, folder: Path) -> Tensors:
    """A folder's transformer by its authors' names; by diffusers' where they have no others."""
    base = name
    while base not in TRANSFORMERS and "-" in base:
        base = base.rpartition("-")[0]
    convert = TRANSFORMERS.get(base)
    tensors = load_weights(folder / "transformer")
    return tensors if convert is None else convert(tensors)


def original_autoencoder(name: str, folder: Path) -> Tensors:
    """A folder's autoencoder by its authors' names."""
    tensors = load_weights(folder / "vae")
    if name in ("qwen-image", "krea2"):
        return wan_autoencoder(tensors, 2)
    if name == "qwen-image-21":
        return qwen21_autoencoder(tensors, 1)
    if name.startswith("hunyuan-image"):
        return hunyuan_image_autoencoder(tensors)
    if name.startswith("flux2") or name == "ernie-image":
        return flux2_autoencoder(tensors, convert_vae)
    return deep_compression_autoencoder(tensors) if name == "sana" else convert_vae(tensors)


def write_whole(name: str, folder: Path, path: Path) -> Path:
    """Write a file with everything, as ComfyUI does, and what files cannot hold beside it."""
    tensors = _prefixed("model.diffusion_model.", original_transformer(name, folder))
    tensors |= _prefixed("vae.", original_autoencoder(name, folder))
    for encoder, key in zip(encoders_of(folder), ENCODERS[name], strict=True):
        tensors |= _prefixed(f"text_encoders.{key}.transformer.", load_weights(folder / encoder))
    write(path, tensors)
    return write_sidecar(folder, path)


def write_in_diffusers_names(folder: Path, path: Path) -> Path:
    """Write a file with everything by diffusers' names, after the names of the components."""
    tensors: Tensors = {}
    for part in sorted(folder.iterdir()):
        if any(part.glob("*.safetensors")):
            tensors |= _prefixed(f"{part.name}.", load_weights(part))
    write(path, tensors)
    return write_sidecar(folder, path)


def write_parts(name: str, folder: Path, root: Path) -> Path:
    """Write a tree as ComfyUI has it: the transformer, text encoders and autoencoder in a file each.

    Returns:
        The transformer's file.
    """
    for encoder, key in zip(encoders_of(folder), ENCODERS[name], strict=True):
        part = root / "text_encoders" / f"{key}.safetensors"
        write(part, load_weights(folder / encoder))
        shutil.copy(folder / encoder / "config.json", part.with_suffix(".json"))
        tokenizer = folder / encoder.replace("text_encoder", "tokenizer")
        shutil.copytree(tokenizer, part.with_suffix("") / "tokenizer")
    vae = root / "vae" / f"{name}_vae.safetensors"
    write(vae, original_autoencoder(name, folder))
    shutil.copy(folder / "vae" / "config.json", vae.with_suffix(".json"))
    path = root / "diffusion_models" / f"{name}.safetensors"
    write(path, original_transformer(name, folder))
    (path.with_suffix("") / "scheduler").mkdir(parents=True)
    shutil.copy(folder / "model_index.json", path.with_suffix(""))
    shutil.copytree(folder / "scheduler", path.with_suffix("") / "scheduler", dirs_exist_ok=True)
    shutil.copy(folder / "transformer" / "config.json", path.with_suffix(".json"))
    return path


def write_vae(path: Path, channels: int = 4, *, original: bool = True) -> Path:
    """Write an autoencoder with its config beside it."""
    torch.manual_seed(5)
    vae = components.autoencoder(channels)
    write(path, convert_vae(dict(vae.state_dict())) if original else dict(vae.state_dict()))
    vae.save_config(path.with_suffix(""))
    return path


def write_sidecar(folder: Path, path: Path) -> Path:
    """Copy a folder's configs and tokenizers beside a file; returns the file."""
    shutil.copytree(
        folder, path.with_suffix(""), ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True
    )
    return path


def write(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """Write tensors as a file; returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata)
    return path


def encoders_of(folder: Path) -> list[str]:
    """The names of a folder's text encoders."""
    return sorted(part.name for part in folder.iterdir() if part.name.startswith("text_encoder"))


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}
