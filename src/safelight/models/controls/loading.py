"""Load control networks as components of the model pool."""

from __future__ import annotations

from pathlib import Path

import torch

from safelight.models.checkpoints.loading import network_source
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.controls.discovery import ControlModel
from safelight.models.controls.lllite import LLLite
from safelight.models.digests import FileDigests, file_digest
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.component import Component, ComponentKey, ComponentSource


def control_source(model: ControlModel, precision: str, device: torch.device, cache: Path) -> ComponentSource:
    """The source of a control network; two with equal files are one component.

    Called by one thread at a time.

    Args:
        model: The network.
        precision: Of its weights: fp32, bf16 or fp16.
        device: Where it is kept.
        cache: The cache folder.

    Raises:
        CheckpointInvalidError, PickleRefusedError, FileMissingError: Its files cannot be used.
    """
    if model.architecture.name == "lllite":
        return _lllite_source(model, precision, device, cache)
    return network_source(model.files(), precision, device, FileDigests(cache), cache)


def _lllite_source(model: ControlModel, precision: str, device: torch.device, cache: Path) -> ComponentSource:
    """The source of a Control-LLLite, for which diffusers has no class."""
    header, dtype = read_header(model.path), DTYPES[precision]
    key = ComponentKey(file_digest(model.path, cache), precision)

    def load() -> Component:
        tensors = {name: tensor.to(dtype, copy=True) for name, tensor in read_tensors(model.path).items()}
        network = LLLite(tensors).requires_grad_(False).eval().to(device, dtype)
        nbytes = sum(parameter.nbytes for parameter in network.parameters())
        return Component(key, network, nbytes)

    elements = sum(entry.elements for entry in header.tensors.values())
    return ComponentSource(key, elements * dtype.itemsize, load)
