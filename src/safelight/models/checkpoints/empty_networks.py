"""Networks without weights, on torch's meta device: those of a checkpoint, and those that families are published with.

They have the real sizes and cost no memory, so that a plan of the memory reads no weights.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.pipelines import kolors

from safelight.errors import CheckpointFamilyError, CheckpointInvalidError
from safelight.models import BUNDLED
from safelight.models.checkpoints.diffusers_layout import ComponentFiles, read_folder
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.loading import silence_libraries
from safelight.models.checkpoints.single_file_loader import SingleFileLoader

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers, "kolors": kolors}
_lock = threading.Lock()
"""accelerate changes torch globally while it builds a network."""


def empty_networks(checkpoint: Checkpoint) -> dict[str, torch.nn.Module]:
    """A checkpoint's networks by name, without weights.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    if checkpoint.kind == "file":
        files = SingleFileLoader(checkpoint.path)
        with _lock:
            return {name: files._build(name) for name in files.names}
    components = read_folder(checkpoint.path).components.values()
    return {files.name: _build_from_files(files) for files in components if files.has_weights}


def published_families() -> list[str]:
    """The families whose published networks are known."""
    return list(_published())


def published_title(family: str) -> str:
    """The published model that ``published_networks`` describes."""
    return str(_entry(family)["title"])


def published_networks(family: str) -> dict[str, torch.nn.Module]:
    """The networks that a family is published with, by name, without weights.

    Raises:
        CheckpointFamilyError: They are not known.
    """
    return {
        name: _build(entry["class"], entry["config"])
        for name, entry in _entry(family).items()
        if name not in ("title", "options")
    }


def published_identity(family: str) -> str:
    """Equal for families whose published networks have equal sizes.

    Raises:
        CheckpointFamilyError: They are not known.
    """
    return json.dumps(_entry(family), sort_keys=True)


def published_options(family: str) -> Mapping[str, object]:
    """The options of the pipeline that a family is published with."""
    options: Mapping[str, object] = _entry(family).get("options", {})
    return options


def _entry(family: str) -> Mapping[str, Any]:
    if family not in _published():
        raise CheckpointFamilyError(
            f"The sizes of the family {family!r} are not known without a checkpoint.",
            hint=f"Known are: {', '.join(_published())}.",
        )
    return _published()[family]


@cache
def _published() -> Mapping[str, Mapping[str, Any]]:
    entries: Mapping[str, Mapping[str, Any]] = json.loads(
        (BUNDLED / "published" / "networks.json").read_text()
    )
    return entries


def _build_from_files(files: ComponentFiles) -> torch.nn.Module:
    kind = getattr(_LIBRARIES[files.library], files.class_name, None)
    if kind is None:
        raise CheckpointInvalidError(
            f"The component {files.name!r} is a {files.class_name}, which {files.library} does not have."
        )
    try:
        return _build_class(kind, files.config())
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointInvalidError(
            f"The configuration of {files.name!r} in {files.folder.parent} cannot be used: {error}"
        ) from error


def _build(name: str, config: Mapping[str, Any]) -> torch.nn.Module:
    module, _, attribute = name.rpartition(".")
    return _build_class(resolve_name(f"{module}:{attribute}"), config)


def _build_class(kind: Any, config: Mapping[str, Any]) -> torch.nn.Module:
    silence_libraries()
    with _lock, init_empty_weights():
        if hasattr(kind, "from_config"):
            network: torch.nn.Module = kind.from_config(dict(config))
        else:
            network = kind(kind.config_class.from_dict(dict(config)))
    if isinstance(network, transformers.PreTrainedModel):
        network.tie_weights()  # not within the context, which separates what is tied
    return network
