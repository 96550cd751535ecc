"""What an adapter's file is, from its header: its kinds, the style of its names, its rank, what it is for.

What ``inventory.file_kinds`` tells of every file (family, components) is not told again here. Nothing here imports
torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import FileMissingError
from safelight.models.adapters.layer_keys import LayerKeys, group_keys
from safelight.models.checkpoints.safetensors_header import Header, TensorEntry
from safelight.models.digests import file_digest
from safelight.models.inventory.file_kinds import identify

SHORT = 12
"""Hexadecimal digits of the hashes that A1111 writes."""
_STYLES = (
    ("lora_unet_", "kohya"),
    ("lora_te", "kohya"),
    ("lora_transformer_", "OneTrainer"),
    ("lycoris_", "LyCORIS"),
    ("diffusion_model.", "ComfyUI"),
    ("model.diffusion_model.", "ComfyUI"),
    ("text_encoders.", "ComfyUI"),
    ("clip_", "ComfyUI"),
    ("base_model.model.", "peft"),
    ("unet.", "diffusers"),
    ("transformer.", "diffusers"),
    ("text_encoder", "diffusers"),
)
"""Styles by the beginnings of names."""


@dataclass(frozen=True)
class AdapterDescription:
    """What an adapter is.

    Args:
        kinds: How it changes layers: LoRA, LoCon (a LoRA of convolutions), LoHa, LoKr, OFT, BOFT, IA3, GLoRA, full,
            norm; DoRA beside those that have magnitudes; or textual inversion.
        key_style: Whose names its layers have: kohya, LyCORIS, OneTrainer, diffusers, old diffusers, peft, ComfyUI,
            XLabs, or bare: without a prefix. Of a textual inversion "".
        rank: The largest rank; of a textual inversion the number of its vectors; None where there is none.
        components: The networks that it changes: denoiser, text_encoder, text_encoder_2 …
        families: The families that it may be for; empty where the file does not say.
        layers: The layers that it changes.
    """

    kinds: tuple[str, ...]
    key_style: str
    rank: int | None
    components: tuple[str, ...]
    families: tuple[str, ...]
    layers: int

    def to_dict(self) -> dict[str, object]:
        """The description for JSON output."""
        return {
            "kinds": list(self.kinds),
            "key_style": self.key_style,
            "rank": self.rank,
            "layers": self.layers,
        }


def describe_adapter(header: Header) -> AdapterDescription:
    """Describe an adapter from its header; of another file there are no kinds."""
    found = identify(header)
    families = (found.family,) if found.family else ()
    if found.kind == "embedding":
        vectors = max(entry.shape[0] if len(entry.shape) > 1 else 1 for entry in found.tensors.values())
        return AdapterDescription(("textual inversion",), "", vectors, (), families, 0)
    layers, _ = group_keys(header.tensors)
    known = {name: keys for name, keys in layers.items() if keys.kind}
    kinds = dict.fromkeys(kind for keys in known.values() for kind in _kinds(keys, header.tensors))
    ranks = [rank for keys in known.values() if (rank := _rank(keys, header.tensors))]
    return AdapterDescription(
        kinds=tuple(kinds),
        key_style=_style(known, header.tensors) if known else "",
        rank=max(ranks, default=None),
        components=tuple(part.name for part in found.components),
        families=families,
        layers=len(known),
    )


def lora_hash(path: Path, header: Header, cache: Path | None = None) -> str:
    """The hash by which A1111 names a LoRA in infotexts.

    It is that of the tensors without the header, so that a change of the metadata leaves it, or what kohya's trainer
    noted as such in the metadata; of other formats than safetensors it is the file's.

    Raises:
        FileMissingError: The file cannot be read.
    """
    noted = header.metadata.get("sshs_model_hash", "")
    if noted:
        return noted[:SHORT]
    if header.format != "safetensors":
        return file_digest(path, cache)[:SHORT]
    try:
        with path.open("rb") as file:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
            return hashlib.file_digest(file, "sha256").hexdigest()[:SHORT]
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error


def embedding_hash(path: Path, cache: Path | None = None) -> str:
    """The hash by which A1111 names a textual inversion in infotexts: the beginning of its SHA-256.

    Raises:
        FileMissingError: The file cannot be read.
    """
    return file_digest(path, cache)[:SHORT]


def _kinds(keys: LayerKeys, tensors: Mapping[str, TensorEntry]) -> list[str]:
    """A layer's kinds; a LoRA whose factors have the size of a convolution is a LoCon."""
    kinds: list[str] = [keys.kind or ""]
    if keys.kind == "LoRA":
        down = tensors[keys.parts["down"]].shape if "down" in keys.parts else ()
        if "mid" in keys.parts or any(side > 1 for side in down[2:]):
            kinds = ["LoCon"]
    if keys.kind == "OFT" and "blocks" in keys.parts and len(tensors[keys.parts["blocks"]].shape) == 4:
        kinds = ["BOFT"]
    return [*kinds, "DoRA"] if keys.is_decomposed else kinds


def _rank(keys: LayerKeys, tensors: Mapping[str, TensorEntry]) -> int:
    """A layer's rank; 0 if it has none."""
    for part in ("down", "w1_b", "kron w2_b", "kron w1_b", "a2"):
        if part in keys.parts:
            shape = tensors[keys.parts[part]].shape
            return shape[0] if shape else 0
    return 0


def _style(layers: Mapping[str, LayerKeys], tensors: Mapping[str, TensorEntry]) -> str:
    """Whose names the layers have."""
    keys = "\n".join(tensors)
    if ".processor.qkv_lora" in keys or ".processor.proj_lora" in keys:
        return "XLabs"
    first = next(iter(layers))
    style = next((style for beginning, style in _STYLES if first.startswith(beginning)), "bare")
    if style in ("diffusers", "bare") and any(
        sign in keys for sign in ("_lora.down.", "lora_linear_layer.", ".lora.down.")
    ):
        return "old diffusers"
    if style == "kohya" and not any(each.kind == "LoRA" for each in layers.values()):
        return "LyCORIS"
    return style
