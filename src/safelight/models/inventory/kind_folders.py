"""The folders of the data directory in which weights lie, by what they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from safelight.models.inventory.file_kinds import Kind

KIND_FOLDERS = MappingProxyType[Kind, str](
    {
        "checkpoint": "checkpoints",
        "denoiser": "checkpoints",
        "autoencoder": "vae",
        "text encoder": "text_encoders",
        "LoRA": "loras",
        "embedding": "embeddings",
        "ControlNet": "controlnet",
        "IP-Adapter": "ip_adapters",
        "image encoder": "image_encoders",
        "upscaler": "upscalers",
    }
)
"""Other kinds have no folder."""


KINDS_BY_NAME = MappingProxyType(
    {kind.casefold(): kind for kind in (*get_args(Kind), "pickle")} | {"vae": "autoencoder"}
)
"""Kinds as people write them; pickle is what ``folders.inspect_folder`` calls files that it does not open."""


def kind_folder(home: Path, kind: Kind) -> Path:
    """The folder for a kind of weights; that of checkpoints for kinds without one."""
    return home / KIND_FOLDERS.get(kind, "checkpoints")


def weights_folders(home: Path, model_folders: Sequence[Path]) -> list[Path]:
    """All folders with weights: the data directory's, and further ones."""
    return [*(home / name for name in dict.fromkeys(KIND_FOLDERS.values())), *model_folders]
