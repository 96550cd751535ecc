"""Files of what was trained, in the layouts of kohya's trainer and A1111, which other programs read too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from safelight.atomic_write import atomic_write
from safelight.generation.training.lora_layers import LoraLayer
from safelight.models.quantization.safetensors_writer import DTYPE_NAMES, write_safetensors


def lora_tensors(layers: Mapping[str, LoraLayer], dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The tensors of a U-Net's LoRA by the names that kohya's trainer gives them.

    Args:
        layers: The layers by the name of the U-Net's layer that they change, as diffusers has it.
        dtype: The factors' data type in the file.
    """
    tensors = {}
    for name, layer in layers.items():
        key = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{key}.alpha"] = torch.tensor(layer.alpha, dtype=dtype)
        tensors[f"{key}.lora_down.weight"] = layer.down.detach().cpu().to(dtype).contiguous()
        tensors[f"{key}.lora_up.weight"] = layer.up.detach().cpu().to(dtype).contiguous()
    return dict(sorted(tensors.items()))


def embedding_tensors(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a textual inversion by the names that A1111 gives them.

    Args:
        vectors: (vectors, width) by text encoder: one, or two for Stable Diffusion XL.
    """
    names = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"} if len(vectors) > 1 else {}
    return {names.get(encoder, "emb_params"): each.cpu().contiguous() for encoder, each in vectors.items()}


def write_trained_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file; the same tensors and metadata give the same bytes.

    A hash of the tensors is added to the metadata, by which A1111 recognizes a LoRA whose notes were changed.

    Args:
        path: The file.
        tensors: All of the same data type, sorted by name.
        metadata: Texts of its header.

    Raises:
        OutputError: It cannot be written.
    """
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    layout = {name: (DTYPE_NAMES[each.dtype], tuple(each.shape)) for name, each in tensors.items()}
    whole = dict(metadata) | {"sshs_model_hash": digest.hexdigest()}
    with atomic_write(path) as temporary:
        write_safetensors(temporary, layout, whole, [tensors], lambda _: None)
