"""Control-LoRA: a ControlNet that is made from the U-Net at hand, with low-rank changes of its encoder.

The layout is that of Stability AI's files: the tensor ``lora_controlnet`` marks them; for the layers of the U-Net there
are ``<layer>.up`` and ``<layer>.down``, whose product is added to the weight, and biases and norms as they are; the
layers that read the picture and those that add to the U-Net are whole. The names are those of the original code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from safelight.errors import CheckpointInvalidError, ControlFamilyError
from safelight.models.checkpoints.layouts.controls import embedding_widths, library_names
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.controls.architectures import LORA_MARKER, recognise
from safelight.models.controls.discovery import ControlModel
from safelight.runtime.quantization.tensor import QuantizedTensor

_EMBEDDING = "controlnet_cond_embedding."


@dataclass(frozen=True)
class BaseUNet:
    """The U-Net that control networks are made of.

    Args:
        digest: What identifies its weights and its configuration.
        empty: Returns it without weights.
        tensors: Reads its tensors, by diffusers' names: views of its files.
    """

    digest: str
    empty: Callable[[], nn.Module]
    tensors: Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LoraTensors:
    """The tensors of a Control-LoRA, by diffusers' names.

    Args:
        whole: Those that take the place of the U-Net's, or that it does not have.
        factors: Of the weights that are changed: up and down.
    """

    whole: Mapping[str, Tensor]
    factors: Mapping[str, tuple[Tensor, Tensor]]


def read_control_lora(model: ControlModel) -> LoraTensors:
    """The tensors of a file: views of it.

    Raises:
        CheckpointInvalidError: One belongs to no layer, or a factor lacks the other.
        FileMissingError: It cannot be read.
    """
    found = recognise(read_header(model.path).tensors)
    assert found is not None
    tensors = {
        name.removeprefix(found.prefix): tensor
        for name, tensor in read_tensors(model.path).items()
        if name.startswith(found.prefix) and name != LORA_MARKER
    }
    # Names are converted with tensors without data: the functions for it want weights.
    stand_ins: dict[str, Tensor] = {_weight_name(name): torch.empty(0, device="meta") for name in tensors}
    names = {id(each): name for name, each in library_names(stand_ins).items()}
    whole: dict[str, Tensor] = {}
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for name, tensor in tensors.items():
        known = names.get(id(stand_ins[_weight_name(name)]))
        if known is None:
            raise CheckpointInvalidError(f"{model.path} has a tensor that belongs to no layer: {name}.")
        layer, _, kind = name.rpartition(".")
        if kind not in ("up", "down"):
            whole[known] = tensor
        elif f"{layer}.up" in tensors and f"{layer}.down" in tensors:
            factors[known] = tensors[f"{layer}.up"], tensors[f"{layer}.down"]
        else:
            raise CheckpointInvalidError(f"{model.path} lacks up or down of the layer {layer}.")
    return LoraTensors(whole, factors)


def _weight_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layer}.weight" if kind in ("up", "down") else name


def empty_control(model: ControlModel, unet: nn.Module) -> ControlNetModel:
    """The network that a Control-LoRA makes of a U-Net, without weights.

    Raises:
        CheckpointInvalidError: The file lacks a layer.
    """
    return _empty(model, read_control_lora(model), unet)


def _empty(model: ControlModel, tensors: LoraTensors, unet: Any) -> ControlNetModel:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.whole.items()}
    try:
        widths = embedding_widths(shapes)
        channels = shapes[f"{_EMBEDDING}conv_in.weight"][1]
    except KeyError as error:
        raise CheckpointInvalidError(f"{model.path} lacks a tensor: {error}.") from error
    with torch.device("meta"):
        return ControlNetModel.from_unet(
            unet, "rgb", tuple(widths), load_weights_from_unet=False, conditioning_channels=channels
        )


def build_control(model: ControlModel, base: BaseUNet, dtype: torch.dtype) -> ControlNetModel:
    """Make the network: the U-Net's weights with the changes, which are added in fp32.

    Raises:
        ControlFamilyError: The U-Net has other sizes than the one that the file was made for.
        CheckpointInvalidError: The file lacks a layer.
    """
    tensors, weights = read_control_lora(model), base.tensors()
    network = _empty(model, tensors, base.empty())
    own: dict[str, Tensor] = {}
    for name, wanted in network.state_dict().items():
        tensor = tensors.whole[name] if name in tensors.whole else _changed(name, tensors, weights, model)
        if tensor.shape != wanted.shape:
            raise _other_size(model, name, tensor.shape, wanted.shape)
        own[name] = tensor.to(dtype, copy=True)
    if unknown := sorted((tensors.whole.keys() | tensors.factors.keys()) - own.keys()):
        raise ControlFamilyError(
            f"{model.name} does not fit the checkpoint, whose U-Net has no {unknown[0]}.",
            hint="Give a control that was made for this checkpoint or one of its size.",
        )
    network.load_state_dict(own, assign=True)
    return network


def _changed(name: str, tensors: LoraTensors, weights: Mapping[str, Tensor], model: ControlModel) -> Tensor:
    """A tensor of the U-Net with its change, if it has one."""
    weight = weights.get(name)
    if weight is None:
        raise CheckpointInvalidError(f"{model.path} lacks the tensor {name}, which the U-Net does not have.")
    if isinstance(weight, QuantizedTensor):
        weight = weight.dequantize()
    if (factors := tensors.factors.get(name)) is None:
        return weight
    up, down = (factor.float().flatten(1) for factor in factors)
    if len(up) != len(weight) or down[0].numel() != weight[0].numel():
        raise _other_size(model, name, (len(up), down[0].numel()), (len(weight), weight[0].numel()))
    return weight.float() + (up @ down).view(weight.shape)


def _other_size(
    model: ControlModel, name: str, own: tuple[int, ...], wanted: tuple[int, ...]
) -> ControlFamilyError:
    return ControlFamilyError(
        f"{model.name} does not fit the checkpoint: its {name} is {list(own)}, not {list(wanted)}.",
        hint="Give a control that was made for this checkpoint or one of its size.",
    )
