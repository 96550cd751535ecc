"""Compile forms of a checkpoint's networks: load one network eagerly, and convert a call of it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from safelight.errors import BackendError, CheckpointInvalidError
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.loading import describe_parts
from safelight.models.checkpoints.parts import NamedParts
from safelight.models.families.precision import ComponentPrecisions
from safelight.models.hub.checkpoint_download import hub_lookup
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.form import make_form
from safelight.runtime.compilation.speed import WORTHWHILE, find_speeds
from safelight.runtime.compilation.values import NetworkCall
from safelight.runtime.compile_cache import CompileCache, StoredForm
from safelight.runtime.component import ComponentKey
from safelight.settings import Settings


def compile_cache(settings: Settings) -> CompileCache:
    """The compiled forms in the cache folder."""
    return CompileCache(compiled_folder(settings.cache_folder), settings.compile_cache_bytes)


def compiled_folder(cache: Path) -> Path:
    """Where the cache folder has compiled forms."""
    return cache / "compiled"


def check_worthwhile(settings: Settings, plan: BackendPlan) -> None:
    """Refuse to compile for a backend that is hardly faster than PyTorch here; it is measured if it was not yet.

    Raises:
        BackendError: It is not faster.
    """
    speeds = find_speeds(settings.cache_folder)
    if (speedup := speeds.speedup(plan.backend, plan.precision)) < WORTHWHILE:
        raise BackendError(f"{plan} computes {speedup:.2f} times as fast as PyTorch here.")


def compile_call(
    settings: Settings,
    checkpoint: str,
    named: NamedParts,
    component: str,
    key: ComponentKey,
    call: NetworkCall,
    plan: BackendPlan,
) -> StoredForm:
    """Load a network of a checkpoint, and compile a form of a call.

    Args:
        settings: The data directory and the folders of models.
        checkpoint: The checkpoint's name.
        named: Files that are used in place of its own networks.
        component: The network's name.
        key: What identifies it.
        call: The call, whose tensors are the example.
        plan: The engine and its precision.

    Raises:
        CheckpointInvalidError: The network on disk is another one by now.
        SafelightError: The checkpoint cannot be used, or the engine cannot convert the network.
    """
    network = _load(settings, checkpoint, named, component, key)
    return make_form(network, key, call, plan, compile_cache(settings))


def _load(
    settings: Settings, checkpoint: str, named: NamedParts, component: str, key: ComponentKey
) -> nn.Module:
    found = find_checkpoint(
        checkpoint,
        settings.home,
        folders=settings.current_model_folders,
        hub_lookup=hub_lookup(),
        named=named,
    )
    parts = describe_parts(found, ComponentPrecisions.uniform(key.dtype), cache=settings.cache_folder)
    source = parts.sources.get(component)
    if source is None or source.key.digest != key.digest:
        raise CheckpointInvalidError(f"The {component} of {checkpoint} was replaced on the disk meanwhile.")
    network: nn.Module = source.load().network
    return network
