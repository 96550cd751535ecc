"""Control-LLLite: small layers in front of a U-Net's attention layers, which read the control picture.

The layout is that of kohya's trainer: ``lllite_unet_<layer>.conditioning1.0.weight`` and so on. Every attention layer
that has a module gets its input changed by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from safelight.errors import CheckpointInvalidError
from safelight.models.controls.architectures import LLLITE_PREFIX

_KEY = re.compile(rf"{LLLITE_PREFIX}(.+?)\.(conditioning1|down|mid|up)\.(\d+)\.(weight|bias)")
_LAYER = re.compile(
    r"(?:(input|output)_blocks_(\d+)_1|middle_block_1)_transformer_blocks_(\d+)_(attn[12])_to_([qkv])"
)
_BLOCKS_IN_A_LEVEL = 3
"""Entries in the original U-Net's lists for each level: two layers and a downsampler, or three layers."""


class LLLiteModule(nn.Module):
    """What changes the input of one layer.

    Args:
        tensors: Its tensors, by their names within the module.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("conditioning1.")})
        layers: list[nn.Module] = []
        for number in numbers:
            weight = tensors[f"conditioning1.{number}.weight"]
            side = weight.shape[2]
            layers += [nn.Conv2d(weight.shape[1], weight.shape[0], side, stride=side), nn.ReLU()]
        self.conditioning1 = nn.Sequential(*layers[:-1])
        for name in ("down", "mid", "up"):
            rows, columns = tensors[f"{name}.0.weight"].shape[:2]
            end = () if name == "up" else (nn.ReLU(),)
            setattr(self, name, nn.Sequential(nn.Linear(columns, rows), *end))
        self.load_state_dict(
            {name: value.reshape(self.get_parameter(name).shape) for name, value in tensors.items()}
        )

    def condition(self, pixels: Tensor) -> Tensor:
        """What it reads of a picture, (rows, 3, height, width) with values from -1 to 1: (rows, tokens, width)."""
        read: Tensor = self.conditioning1(pixels)
        return read.flatten(2).transpose(1, 2)

    def forward(self, inputs: Tensor, condition: Tensor, weight: float) -> Tensor:
        """The changed input of the layer, (rows, tokens, width)."""
        rows = condition.expand(len(inputs), -1, -1)
        added: Tensor = self.up(self.mid(torch.cat([rows, self.down(inputs)], dim=2)))
        return inputs + added * weight


class LLLite(nn.Module):
    """All modules of a file, by the names of diffusers' layers.

    Args:
        tensors: The file's tensors.

    Raises:
        CheckpointInvalidError: A tensor belongs to no layer, or a module is not complete.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if (found := _KEY.fullmatch(key)) is None:
                raise CheckpointInvalidError(f"The control has a tensor that belongs to no layer: {key}.")
            groups.setdefault(layer_name(found[1]), {})[f"{found[2]}.{found[3]}.{found[4]}"] = tensor
        self.layers = tuple(groups)
        try:
            self.modules_by_layer = nn.ModuleList(LLLiteModule(own) for own in groups.values())
        except (KeyError, IndexError, RuntimeError, AttributeError) as error:
            raise CheckpointInvalidError(f"The control lacks a tensor of a layer: {error}.") from error

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device


def layer_name(name: str) -> str:
    """Diffusers' name of an attention layer of Stable Diffusion XL's U-Net, from that of the original code.

    Raises:
        CheckpointInvalidError: It is none.
    """
    found = _LAYER.fullmatch(name)
    if found is None:
        raise CheckpointInvalidError(f"The control is for a layer that is not known: {name}.")
    end = f"transformer_blocks.{found[3]}.{found[4]}.to_{found[5]}"
    if found[1] is None:
        return f"mid_block.attentions.0.{end}"
    if found[1] == "input":
        level, place = divmod(int(found[2]) - 1, _BLOCKS_IN_A_LEVEL)
        return f"down_blocks.{level}.attentions.{place}.{end}"
    level, place = divmod(int(found[2]), _BLOCKS_IN_A_LEVEL)
    return f"up_blocks.{level}.attentions.{place}.{end}"
