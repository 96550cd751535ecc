"""The files of a picture's adapters: found by name, checked, loaded with the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.errors import UnsupportedError
from safelight.generation.plan import Plan
from safelight.generation.record import AdapterRef
from safelight.generation.request import Adapter
from safelight.models.adapters.adapter_names import NamedAdapter, find_adapter
from safelight.models.adapters.description import lora_hash
from safelight.models.adapters.packaged import adapter_folders
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.digests import FileDigests
from safelight.models.families import Family
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.settings import Settings

if TYPE_CHECKING:
    from torch import nn

    from safelight.models.adapters.loading import LoadedAdapter
    from safelight.models.checkpoints.loading import CheckpointParts


ADAPTERS = "adapters"
"""The name of the modifier that adapters are leased for."""


@dataclass(frozen=True, eq=False)
class AdapterInUse:
    """An adapter in memory.

    Args:
        name: Its file's name, without folder and suffix.
        loaded: What it changes in the checkpoint's networks.
        hash: The hash by which A1111 knows it.
    """

    name: str
    loaded: LoadedAdapter
    hash: str


def used_adapters(plan: Plan, home: Path) -> list[Adapter]:
    """The different adapters that the pictures of a request use.

    Raises:
        SafelightError: A prompt cannot be expanded.
    """
    found = (each for index in range(plan.request.count) for each in plan.prompts(index, home).adapters)
    return list(dict.fromkeys(found))


def adapter_refs(adapters: Iterable[Adapter], networks: Mapping[str, Component]) -> tuple[AdapterRef, ...]:
    """A record's references to a picture's adapters.

    Args:
        adapters: The adapters.
        networks: Their components, by the adapters' names.
    """
    found = []
    for adapter in adapters:
        used: AdapterInUse = networks[adapter.name].network
        layers = {component: len(changes) for component, changes in sorted(used.loaded.changes.items())}
        fields = adapter.model_dump() | {"name": used.name}
        found.append(AdapterRef(**fields, digest=used.loaded.digest, hash=used.hash, layers=layers))
    return tuple(found)


def find_named(name: str, settings: Settings) -> NamedAdapter:
    """The file of an adapter's name, or of its path.

    Raises:
        AdapterMissingError, AdapterAmbiguousError: There is none, or there are several.
    """
    folders = adapter_folders(settings.home, settings.current_model_folders)
    return find_adapter(name, folders, "LoRA", allow_paths=True)


def check_adapters(adapters: Iterable[Adapter], family: Family, settings: Settings) -> None:
    """Check that adapters are there, and that a family's denoiser has the blocks for which they have strengths.

    Raises:
        UnsupportedError: One has strengths of blocks that the family's denoiser does not have.
        AdapterMissingError, AdapterAmbiguousError: There is no adapter of a name, or there are several.
    """
    for adapter in adapters:
        if adapter.has_blocks and family.denoiser != "unet":
            raise UnsupportedError(
                f"{family.title} has no input, middle and output blocks, for which the adapter {adapter.name} has "
                "strengths.",
                hint="Leave out in, mid and out.",
                field="adapters",
            )
        find_named(adapter.name, settings)


def adapter_source(
    name: str,
    parts: CheckpointParts,
    networks: Callable[[], Mapping[str, nn.Module]],
    settings: Settings,
    digests: FileDigests,
) -> ComponentSource:
    """How an adapter is loaded for a checkpoint.

    Args:
        name: Its name.
        parts: The checkpoint.
        networks: Returns the checkpoint's networks, without weights.
        settings: The folders of adapters.
        digests: The digests of files.

    Raises:
        AdapterMissingError, AdapterAmbiguousError: There is no adapter of that name, or there are several.
        ModelError: It cannot be used.
    """
    found, family = find_named(name, settings), parts.checkpoint.family
    digest = digests.digest(found.path)
    # What it changes depends on the shapes of the networks, which the checkpoint's digest stands for.
    both = sha256(f"{digest} {parts.digest}".encode()).hexdigest()
    dtype = parts.sources[family.denoiser].key.dtype
    key = ComponentKey(both, dtype, form="adapter")

    def load() -> Component:
        from safelight.models.adapters.loading import load_adapter
        from safelight.runtime.backends.eager import DTYPES

        empty = networks()
        loaded = load_adapter(found.path, empty, family, digest)
        changed, largest = _changed_numbers(loaded, empty, family)
        derived = changed * DTYPES[dtype].itemsize
        short = lora_hash(found.path, read_header(found.path), settings.cache_folder)
        network = AdapterInUse(found.name, loaded, short)
        # The largest weight is unpacked twice where it is changed as it computes.
        return Component(key, network, loaded.nbytes + 2 * largest, derived=derived)

    return ComponentSource(key, found.path.stat().st_size, load)


@dataclass(frozen=True)
class AdapterSize:
    """How large adapters are.

    Args:
        nbytes: Bytes of their factors, and of a weight that is being changed.
        changed: How many numbers of the denoiser's weights they change.
    """

    nbytes: int
    changed: int


def count_adapters(
    names: Iterable[str], networks: Mapping[str, nn.Module], family: Family, settings: Settings
) -> AdapterSize:
    """How large adapters are, for networks without weights.

    Raises:
        AdapterMissingError, AdapterAmbiguousError: There is no adapter of a name, or there are several.
        ModelError: One cannot be used.
    """
    from safelight.models.adapters.loading import load_adapter

    nbytes = changed = 0
    for name in names:
        loaded = load_adapter(find_named(name, settings).path, networks, family, "")
        total, largest = _changed_numbers(loaded, networks, family)
        nbytes, changed = nbytes + loaded.nbytes + 2 * largest, changed + total
    return AdapterSize(nbytes, changed)


def _changed_numbers(
    loaded: LoadedAdapter, networks: Mapping[str, nn.Module], family: Family
) -> tuple[int, int]:
    """How many numbers of the denoiser an adapter changes, and the bytes of the largest weight in fp32."""
    sizes = {
        component: [networks[component].get_parameter(path).numel() for path in changes]
        for component, changes in loaded.changes.items()
    }
    return sum(sizes.get(family.denoiser, ())), 4 * max(map(max, filter(None, sizes.values())), default=0)
