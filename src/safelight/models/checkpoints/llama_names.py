"""Text encoders in GGUF files: from llama.cpp's names, and its changes of weights, back to those of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from safelight.models.checkpoints.tensor_entries import Origin, TensorEntry

ARCHITECTURES = frozenset(
    {"llama", "qwen2", "qwen2vl", "qwen3", "qwen3vl", "gemma2", "gemma3", "t5", "t5encoder"}
)
"""The text encoders that are renamed, by ``general.architecture``."""

_BLOCK_NAME = re.compile(r"(?:enc\.)?blk\.(\d+)\.(\w+)")
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA_BLOCK = _BLOCK | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_T5_BLOCK = {
    "attn_norm": "layer.0.layer_norm",
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "ffn_norm": "layer.1.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_T5_OUTSIDE = {"token_embd": "shared", "enc.output_norm": "encoder.final_layer_norm"}
_COMPUTED = frozenset({"rope_freqs.weight"})
"""Tensors that transformers computes itself."""


def rename(tensors: Mapping[str, TensorEntry], metadata: Mapping[str, str]) -> dict[str, TensorEntry]:
    """The tensors of a text encoder under transformers' names; those of other files as they are.

    Args:
        tensors: The tensors of a GGUF file.
        metadata: Its metadata.

    Raises:
        ValueError: A number in the metadata is missing or wrong, or two tensors would have the same name.
    """
    architecture = metadata.get("general.architecture", "")
    if architecture not in ARCHITECTURES or "token_embd.weight" not in tensors:
        return dict(tensors)
    found: dict[str, TensorEntry] = {}
    for name, entry in tensors.items():
        if name in _COMPUTED:
            continue
        new = _new_name(name, architecture)
        if new in found:
            raise ValueError(f"the tensor {new} is there twice")
        found[new] = entry._replace(origin=Origin(name, *_change(name, entry, architecture, metadata)))
    return found


def _new_name(name: str, architecture: str) -> str:
    stem, dot, last = name.rpartition(".")
    t5 = architecture.startswith("t5")
    if match := _BLOCK_NAME.fullmatch(stem):
        number, part = match.groups()
        if t5:
            return f"encoder.block.{number}.{_T5_BLOCK.get(part, part)}{dot}{last}"
        names = _GEMMA_BLOCK if architecture.startswith("gemma") else _BLOCK
        return f"model.layers.{number}.{names.get(part, part)}{dot}{last}"
    return f"{(_T5_OUTSIDE if t5 else _OUTSIDE).get(stem, stem)}{dot}{last}"


def _change(name: str, entry: TensorEntry, architecture: str, metadata: Mapping[str, str]) -> tuple[str, int]:
    """What llama.cpp's converter did to a tensor: see ``Origin``."""
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return "plus one", 0
    if architecture == "llama" and (".attn_q." in name or ".attn_k." in name):
        heads = "head_count_kv" if ".attn_k." in name else "head_count"
        text = metadata.get(f"llama.attention.{heads}", metadata.get("llama.attention.head_count", ""))
        count = int(text) if text.isdigit() else 0
        if count < 1 or not entry.shape or entry.shape[0] % (2 * count):
            raise ValueError(f"the tensor {name!r} cannot have {text[:20]!r} attention heads")
        return "rotary", count
    return "", 0
