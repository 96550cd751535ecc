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

import torch
import transformers
from accelerate import init_empty_weights

from safelight.errors import CheckpointFamilyError
from safelight.models import BUNDLED
from safelight.models.checkpoints import loading
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.families import FAMILIES

_lock = threading.Lock()
"""accelerate changes torch globally while it builds a network."""
_NO_NETWORKS = ("title", "source", "scheduler", "options", "like")
"""The names in a published entry that are no component."""


def empty_networks(checkpoint: Checkpoint) -> dict[str, torch.nn.Module]:
    """A checkpoint's networks by name, without weights.

    Raises:
        CheckpointInvalidError, CheckpointFamilyError, PickleRefusedError, FileMissingError: It cannot be used.
    """
    with _lock:
        networks = loading.empty_networks(checkpoint)
    for network in networks.values():
        _tie(network)
    return networks


def published_families() -> list[str]:
    """The families whose published networks are known; variants with nearly the same networks are left out."""
    return [name for name, entry in _published().items() if "title" in entry]


def published_title(family: str) -> str:
    """The published model that ``published_networks`` describes."""
    return str(_entry(family).get("title", FAMILIES[family].title))


def published_networks(family: str) -> dict[str, torch.nn.Module]:
    """The networks that a family is published with, by name, without weights.

    Raises:
        CheckpointFamilyError: They are not known.
    """
    return {
        name: _build(entry["class"], entry["config"])
        for name, entry in _entry(family).items()
        if name not in _NO_NETWORKS
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


def published_scheduler(family: str) -> Mapping[str, object] | None:
    """The config of the scheduler that a family is published with, where the kind of its network does not tell it."""
    config: Mapping[str, object] | None = _entry(family).get("scheduler")
    return config


def _entry(family: str) -> Mapping[str, Any]:
    """What is known of a family: its own entry, on top of the one that it is like; or that of the architecture."""
    published = _published()
    own = published.get(family)
    if own is None and family in FAMILIES and FAMILIES[family].key in published:
        own = {"like": FAMILIES[family].key}
    if own is None:
        raise CheckpointFamilyError(
            f"The sizes of the family {family!r} are not known without a checkpoint.",
            hint=f"Known are: {', '.join(published)}.",
        )
    if "like" not in own:
        return own
    entry = {name: value for name, value in published[own["like"]].items() if name != "title"}
    for name, value in own.items():
        if name in ("title", "source", "scheduler", "like"):
            entry[name] = value
        elif name == "options":
            entry[name] = entry.get(name, {}) | value
        else:
            entry[name] = entry[name] | {"config": entry[name]["config"] | value["config"]}
    return entry


@cache
def _published() -> Mapping[str, Mapping[str, Any]]:
    entries: Mapping[str, Mapping[str, Any]] = json.loads(
        (BUNDLED / "published" / "networks.json").read_text()
    )
    return entries


def _build(name: str, config: Mapping[str, Any]) -> torch.nn.Module:
    module, _, attribute = name.rpartition(".")
    return _build_class(resolve_name(f"{module}:{attribute}"), config)


def _build_class(kind: Any, config: Mapping[str, Any]) -> torch.nn.Module:
    loading.silence_libraries()
    with _lock, init_empty_weights():
        if hasattr(kind, "from_config"):
            network: torch.nn.Module = kind.from_config(dict(config))
        else:
            network = kind(kind.config_class.from_dict(dict(config)))
    _tie(network)
    return network


def _tie(network: torch.nn.Module) -> None:
    """Tie the weights that are equal, which building without weights has separated."""
    if isinstance(network, transformers.PreTrainedModel):
        network.tie_weights()
