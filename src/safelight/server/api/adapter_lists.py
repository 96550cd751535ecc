"""The adapters of this server, for the lists of every API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safelight.errors import SafelightError
from safelight.generation.recall.field_builder import FILE_SUFFIX, KnownAdapter
from safelight.models.adapters.adapter_names import AdapterKind, NamedAdapter, list_adapters
from safelight.models.adapters.description import SHORT, AdapterDescription, describe_adapter
from safelight.models.adapters.family_fit import fits_family
from safelight.models.adapters.packaged import adapter_folders
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.digests import FileVersion, cached_digest, file_version
from safelight.models.families import Family
from safelight.models.inventory.weights_file import WeightsFile, describe_weights_file
from safelight.settings import Settings


@dataclass(frozen=True)
class ListedAdapter:
    """An adapter that requests may name.

    Args:
        named: Its names and its file.
        kind: What it is: LoRA or embedding.
        file: What its file says of itself.
        description: How it changes layers.
        digest: SHA-256 of its file; None where it was never computed.
    """

    named: NamedAdapter
    kind: AdapterKind
    file: WeightsFile
    description: AdapterDescription
    digest: str | None

    @property
    def hash(self) -> str | None:
        """The hash by which A1111 knows it; None where all of the file would have to be read."""
        noted = self.file.metadata.get("sshs_model_hash") if self.kind == "LoRA" else self.digest
        return noted[:SHORT] if noted else None

    @property
    def width(self) -> int:
        """The width of a textual inversion's vectors, those of the first text encoder."""
        tensors = read_header(self.named.path).tensors.values()
        return min((entry.shape[-1] for entry in tensors if entry.shape), default=0)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata, with what trainers wrote as JSON in text as JSON."""
        return {name: _read_value(text) for name, text in self.file.metadata.items()}


def listed_adapters(settings: Settings, kind: AdapterKind) -> list[ListedAdapter]:
    """The adapters of a kind; files that cannot be read are left out."""
    found = []
    for named in _named(settings, kind):
        with suppress(SafelightError):  # deleted or damaged meanwhile
            found.append(described_adapter(named, kind, settings))
    return found


def described_adapter(named: NamedAdapter, kind: AdapterKind, settings: Settings) -> ListedAdapter:
    """An adapter with what its file says.

    Raises:
        SafelightError: It cannot be read.
    """
    file, description = _describe(named.path, file_version(named.path))
    return ListedAdapter(named, kind, file, description, cached_digest(named.path, settings.cache_folder))


def adapter_fits(kind: AdapterKind, family: str, checkpoint: Family) -> bool | None:
    """Whether an adapter is for a checkpoint's family; None where its file does not say for which it is.

    Args:
        kind: LoRA or embedding.
        family: The family that its file tells; "" for none.
        checkpoint: The checkpoint's family.
    """
    if kind == "embedding" and checkpoint.text_encoding == "plain":
        return False
    if not family:
        return None
    return fits_family(family, checkpoint) if kind == "LoRA" else family == checkpoint.key


def recalled_adapter(
    name: str, digits: str | None, settings: Settings, kind: AdapterKind = "LoRA"
) -> KnownAdapter | None:
    """An adapter that another picture names, found by its hash or else by its name.

    Args:
        name: Its name in another program.
        digits: The beginning of its SHA-256, or A1111's hash of it; None if there is neither.
        settings: The folders of adapters.
        kind: LoRA or embedding.
    """
    wanted, start = _normalize(name), (digits or "").lower()
    adapters = _named(settings, kind)
    if len(start) >= SHORT:
        for each in adapters:
            if any(known.startswith(start) for known in _hashes(each, settings)):
                return KnownAdapter(_usual_name(each, adapters))
    same = [each for each in adapters if wanted in (_normalize(each.name), _normalize(each.place))]
    same = same or [each for each in adapters if wanted and wanted == _normalize(each.alias)]
    same = same or [each for each in adapters if wanted.rpartition("/")[2] == _normalize(each.name)]
    if len(same) != 1:
        return None
    differs = len(start) >= SHORT and bool(_hashes(same[0], settings))
    return KnownAdapter(_usual_name(same[0], adapters), differs)


def _named(settings: Settings, kind: AdapterKind) -> tuple[NamedAdapter, ...]:
    return list_adapters(adapter_folders(settings.home, settings.current_model_folders), kind)


def _usual_name(adapter: NamedAdapter, adapters: tuple[NamedAdapter, ...]) -> str:
    """Its file's name; with its folder where another one has the same name."""
    alone = sum(each.name == adapter.name for each in adapters) == 1
    return adapter.name if alone else adapter.place


def _hashes(adapter: NamedAdapter, settings: Settings) -> list[str]:
    """The hashes of a file that are known without reading all of it."""
    try:
        noted = read_header(adapter.path).metadata.get("sshs_model_hash", "")
    except SafelightError:
        noted = ""
    known = cached_digest(adapter.path, settings.cache_folder)
    return [each.lower() for each in (known, noted) if each]


def _normalize(name: str) -> str:
    return FILE_SUFFIX.sub("", name.strip().replace("\\", "/")).casefold()


@lru_cache(maxsize=5_000)
def _describe(path: Path, _: FileVersion) -> tuple[WeightsFile, AdapterDescription]:
    return describe_weights_file(path), describe_adapter(read_header(path))


def _read_value(text: str) -> Any:
    if text[:1] not in "{[":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
