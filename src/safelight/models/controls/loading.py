"""Load control networks as components of the model pool."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from safelight.models.checkpoints.loading import network_source
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.controls.control_lora import BaseUNet, build_control, empty_control
from safelight.models.controls.discovery import ControlModel
from safelight.models.controls.lllite import LLLite
from safelight.models.digests import FileDigests, file_digest
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.component import Component, ComponentKey, ComponentSource, parameter_names


def control_source(
    model: ControlModel, precision: str, device: torch.device, cache: Path, base: BaseUNet | None = None
) -> ComponentSource:
    """The source of a control network; two with equal files are one component.

    Called by one thread at a time.

    Args:
        model: The network.
        precision: Of its weights: fp32, bf16 or fp16.
        device: Where it is kept.
        cache: The cache folder.
        base: The checkpoint's U-Net, of which a Control-LoRA is made; others need none.

    Raises:
        CheckpointInvalidError, PickleRefusedError, FileMissingError: Its files cannot be used.
    """
    if model.architecture.name == "lllite":
        return _lllite_source(model, precision, device, cache)
    if model.architecture.name == "control-lora":
        assert base is not None
        return _control_lora_source(model, precision, device, cache, base)
    return network_source(model.files(), precision, device, FileDigests(cache), cache)


def count_weights(model: ControlModel, unet: Callable[[], nn.Module]) -> int:
    """How many weights a control network has; none is read.

    Args:
        model: The network.
        unet: Returns the checkpoint's U-Net without weights, of which a Control-LoRA is made.

    Raises:
        CheckpointInvalidError, PickleRefusedError, FileMissingError: Its files cannot be used.
    """
    if model.architecture.name == "control-lora":
        return sum(parameter.numel() for parameter in empty_control(model, unet()).parameters())
    return model.weights()


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


def _control_lora_source(
    model: ControlModel, precision: str, device: torch.device, cache: Path, base: BaseUNet
) -> ComponentSource:
    """The source of the ControlNet that a Control-LoRA makes of a U-Net."""
    both = sha256(f"{file_digest(model.path, cache)} {base.digest}".encode()).hexdigest()
    key, dtype = ComponentKey(both, precision), DTYPES[precision]

    def load() -> Component:
        network = build_control(model, base, dtype).requires_grad_(False).eval().to(device)
        nbytes = sum(parameter.nbytes for parameter in network.parameters())
        return Component(key, network, nbytes, parameter_names(network))

    # until it is loaded: the U-Net's encoder is most of it, and at most half of the U-Net
    elements = sum(parameter.numel() for parameter in base.empty().parameters()) // 2
    return ComponentSource(key, elements * dtype.itemsize, load)
