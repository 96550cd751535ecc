"""Adapters in a data directory, as their headers describe them; nothing is generated with them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

METADATA = {
    "ss_output_name": "ink_v2",
    "ss_tag_frequency": {"a": {"ink drawing": 3}},
    "sshs_model_hash": "ab" * 32,
}


def write_adapters(home: Path) -> None:
    """Write a LoRA of Stable Diffusion 1, and textual inversions of Stable Diffusion 1 and XL."""
    for folder in ("loras/styles", "embeddings"):
        (home / folder).mkdir(parents=True)
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    factors = {f"{layer}.lora_down.weight": torch.ones(4, 768), f"{layer}.lora_up.weight": torch.ones(320, 4)}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in METADATA.items()}
    save_file(factors, home / "loras" / "styles" / "ink.safetensors", texts)
    save_file({"emb_params": torch.ones(3, 768)}, home / "embeddings" / "mossy.safetensors")
    glassy = {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}
    save_file(glassy, home / "embeddings" / "glassy.safetensors")
