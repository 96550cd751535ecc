"""Image encoders of IP-Adapters: found by their content, as files and in folders as transformers saves them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safelight.errors import ImageEncoderMissingError, SafelightError
from safelight.models.checkpoints.diffusers_layout import read_json
from safelight.models.checkpoints.folder_walk import walk_weights
from safelight.models.checkpoints.layouts.image_encoders import describe_image_encoder
from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.safetensors_header import TensorEntry, read_header
from safelight.models.controls.ip_adapter import EncoderNeed
from safelight.models.digests import FileVersion, file_digest, file_version

FOLDER = "image_encoders"
"""The folder of the data directory for them."""
_SUFFIX = ".safetensors"
_STEM = "model"
"""What transformers calls the weights in a network's folder."""
_BESIDE = ("image_encoder", "models/image_encoder", "clip_vision")
"""Folders near an adapter's file in which published repositories and other programs have its encoder."""
_CONFIG = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size"),
    *("hidden_act", "layer_norm_eps", "vision_use_head"),
)  # fmt: skip
_LIKELY = frozenset({FOLDER, "image_encoder", "clip_vision", "clip-vision"})
"""Names of folders that are searched before all others, whose many files would have to be read."""
_USUAL_SIDES: Mapping[str, int] = MappingProxyType({"clip-vision": 224, "siglip-vision": 384})
"""Pixels of the pictures that adapters were trained with; variants for others have the same widths."""


@dataclass(frozen=True)
class PublishedEncoder:
    """An image encoder that published adapters were trained with.

    Args:
        layout: The name of its layout.
        features: The width of its features.
        embedding: The width of its embedding.
        title: What people call it.
        place: Where its authors or the adapters' have it.
        file: The name under which people have its file.
    """

    layout: str
    features: int
    embedding: int
    title: str
    place: str
    file: str

    def meets(self, need: EncoderNeed) -> bool:
        """Whether an adapter was trained with it."""
        width = self.embedding if need.output == "embedding" else self.features
        return (self.layout, width) == (need.layout, need.width)


PUBLISHED = (
    PublishedEncoder(
        "clip-vision", 1280, 1024, "CLIP ViT-H/14", "models/image_encoder of h94/IP-Adapter",
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    ),
    PublishedEncoder(
        "clip-vision", 1664, 1280, "CLIP ViT-bigG/14", "sdxl_models/image_encoder of h94/IP-Adapter",
        "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors",
    ),
    PublishedEncoder(
        "clip-vision", 1024, 768, "CLIP ViT-L/14", "openai/clip-vit-large-patch14",
        "clip-vit-large-patch14.safetensors",
    ),
    PublishedEncoder(
        "siglip-vision", 1152, 0, "SigLIP SO400M/14 for 384 pixels", "google/siglip-so400m-patch14-384",
        "siglip-so400m-patch14-384.safetensors",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class ImageEncoder:
    """An image encoder on the disk.

    Args:
        path: Its file.
        layout: The name of its layout.
        features: The width of its features.
        embedding: The width of its embedding; 0 without one.
        side: Pixels of a side of the pictures that it reads.
        config: What its config.json says, as JSON.
    """

    path: Path
    layout: str
    features: int
    embedding: int
    side: int
    config: str = field(default="{}", repr=False)

    @property
    def name(self) -> str:
        """What people know it by: its file's name, or its folder's."""
        return self.path.parent.name if self.path.stem == _STEM else self.path.stem

    def meets(self, need: EncoderNeed) -> bool:
        """Whether it has what an adapter needs."""
        width = self.embedding if need.output == "embedding" else self.features
        return (self.layout, width) == (need.layout, need.width)

    def file(self) -> PartFile:
        """What it is loaded from."""
        return PartFile("image_encoder", self.layout, self.path, "", fixed=self.config)

    def weights(self) -> int:
        """How many weights its file has.

        Raises:
            FileMissingError, CheckpointInvalidError: It cannot be read.
        """
        return sum(entry.elements for entry in read_header(self.path).tensors.values())

    def digest(self, cache: Path) -> str:
        """SHA-256 of its file, in hexadecimal.

        Raises:
            FileMissingError: It cannot be read.
        """
        return file_digest(self.path, cache)


def find_image_encoder(need: EncoderNeed, adapter: Path, folders: Sequence[Path]) -> ImageEncoder:
    """The image encoder of an adapter: the nearest to its file, of those for pictures of the usual size.

    Args:
        need: What the adapter needs.
        adapter: The adapter's file.
        folders: Folders with weights, searched at any depth.

    Raises:
        ImageEncoderMissingError: There is none.
    """
    usual = _USUAL_SIDES[need.layout]
    for places in (_near(adapter, folders), _elsewhere(folders)):
        if found := [each for path in places if (each := _read(path)) is not None and each.meets(need)]:
            return min(found, key=lambda each: (abs(each.side - usual), _distance(each.path, adapter)))
    published = next((each for each in PUBLISHED if each.meets(need)), None)
    if published is None:
        output = "an embedding" if need.output == "embedding" else "features"
        what = f"an image encoder ({need.layout}) with {output} {need.width} wide"
        raise ImageEncoderMissingError(
            f"{adapter.stem} needs {what}, and there is none on this machine.",
            hint=f"Put it into {FOLDER}/ of the data directory, as a file or a folder of transformers.",
        )
    raise ImageEncoderMissingError(
        f"{adapter.stem} needs the image encoder {published.title} ({published.file}), which is not on this machine.",
        hint=f"Put the file, or the folder with its config.json, into {FOLDER}/ of the data directory or a folder "
        f"of model_folders; it is {published.place}.",
        context={"encoder": published.title, "file": published.file},
    )


def _distance(path: Path, other: Path) -> tuple[int, str]:
    """How far apart two files lie: folders from one to the other, and then by name."""
    steps = os.path.relpath(path, other.parent).count(os.sep)
    return steps, str(path)


def _near(adapter: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """Files in folders near an adapter's, and in those with the usual names."""
    for base in (adapter.parent, adapter.parent.parent):
        for name in _BESIDE:
            yield from sorted((base / name).glob(f"*{_SUFFIX}"))
    yield from (path for path in _files(folders) if _is_likely(path))


def _elsewhere(folders: Sequence[Path]) -> Iterator[Path]:
    return (path for path in _files(folders) if not _is_likely(path))


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in walk_weights(folder, (_SUFFIX,)) if path.suffix == _SUFFIX)


def _is_likely(path: Path) -> bool:
    return not _LIKELY.isdisjoint(part.casefold() for part in path.parts)


def _read(path: Path) -> ImageEncoder | None:
    try:
        config = path.parent / "config.json"
        beside = file_version(config) if path.stem == _STEM and config.is_file() else None
        return _describe(path, file_version(path), beside)
    except SafelightError:
        return None


@lru_cache(maxsize=20_000)
def _describe(path: Path, _: FileVersion, beside: FileVersion | None) -> ImageEncoder | None:
    found = read_header(path).derive(_describe_tensors)
    if found is None:
        return None
    config = {} if beside is None else _own_config(read_json(path.parent / "config.json"))
    return ImageEncoder(path, *found, json.dumps(config))


def _describe_tensors(tensors: Mapping[str, TensorEntry]) -> tuple[str, int, int, int] | None:
    return describe_image_encoder({name: entry.shape for name, entry in tensors.items()})


def _own_config(config: Mapping[str, object]) -> dict[str, Any]:
    """The values of a config.json; that of a whole CLIP or SigLIP has those of the image encoder within."""
    own = config.get("vision_config")
    values = own if isinstance(own, Mapping) else config
    found = {name: values[name] for name in _CONFIG if name in values}
    if "projection_dim" in config:
        found["projection_dim"] = config["projection_dim"]
    return found
