"""Compile forms of networks: load one eagerly, and convert a call of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from safelight.errors import CheckpointInvalidError, ModelInvalidError
from safelight.generation.backend_choice import rank_plans
from safelight.generation.upscaling import UpscalerFile
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.loading import describe_parts
from safelight.models.checkpoints.parts import NamedParts
from safelight.models.controls.discovery import find_control_by_name
from safelight.models.controls.loading import control_source
from safelight.models.families.precision import ComponentPrecisions
from safelight.models.hub.checkpoint_download import hub_lookup
from safelight.runtime.backends import BackendPlan
from safelight.runtime.compilation.form import make_form
from safelight.runtime.compilation.speed import find_speeds, known_speeds
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


def is_worthwhile(settings: Settings, component: str, plan: BackendPlan) -> bool:
    """Whether auto would use a plan here. If no backend was measured yet, all are now, and only the best plan counts.

    Args:
        settings: The folder in which measurements are kept.
        component: The component's name.
        plan: What may compute it.
    """
    known = known_speeds(settings.cache_folder)
    speeds = known or find_speeds(settings.cache_folder)
    plans = rank_plans(component, plan.precision, torch.device(plan.device), speeds)
    return plan in (plans if known else plans[:1])


def compile_call(
    settings: Settings, network: nn.Module, key: ComponentKey, call: NetworkCall, plan: BackendPlan
) -> StoredForm:
    """Compile a form of a network's call, and keep it on disk.

    Args:
        settings: The folder in which forms are kept.
        network: The network, eager and on the CPU.
        key: What identifies it.
        call: The call, whose tensors are the example.
        plan: The engine and its precision.

    Raises:
        SafelightError: The engine cannot convert the network.
    """
    call = replace(call, tensors=tuple(tensor.to(plan.device) for tensor in call.tensors))
    return make_form(network.to(plan.device), key, call, plan, compile_cache(settings))


def load_network(
    settings: Settings, checkpoint: str, named: NamedParts, component: str, key: ComponentKey
) -> nn.Module:
    """Load a network of a checkpoint, eager and on the CPU.

    Args:
        settings: The data directory and the folders of models.
        checkpoint: The checkpoint's name.
        named: Files that are used in place of its own networks.
        component: The network's name.
        key: What identifies it.

    Raises:
        CheckpointInvalidError: The network on disk is another one by now.
        SafelightError: The checkpoint cannot be used.
    """
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


def load_upscaler_network(settings: Settings, file: UpscalerFile, key: ComponentKey) -> nn.Module:
    """Load the network of an upscaler, eager and on the CPU.

    Args:
        settings: The cache folder.
        file: The upscaler's file.
        key: What identifies the network.

    Raises:
        ModelInvalidError: The file has other weights by now, or cannot be used.
        FileMissingError: It is not there any more.
    """
    upscaler = file.load(settings.cache_folder)
    if upscaler.digest != key.digest:
        raise ModelInvalidError(f"The upscaler {file.name} was replaced on the disk meanwhile.")
    return upscaler.module


def load_control_network(settings: Settings, path: Path, key: ComponentKey) -> nn.Module:
    """Load a control network that is a file or a folder of its own, eager and on the CPU.

    Args:
        settings: The cache folder.
        path: The file or the folder.
        key: What identifies the network.

    Raises:
        CheckpointInvalidError: The network on disk is another one by now.
        ModelError: It cannot be used.
    """
    model = find_control_by_name(str(path), ())
    source = control_source(model, key.dtype, torch.device("cpu"), settings.cache_folder)
    if source.key.digest != key.digest:
        raise CheckpointInvalidError(f"The control {model.name} was replaced on the disk meanwhile.")
    network: nn.Module = source.load().network
    return network
