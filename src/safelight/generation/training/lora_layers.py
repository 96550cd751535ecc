"""Low-rank layers beside a network's own, to be trained while the network itself stays as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")
"""Ends of the names of the attention layers of U-Nets, and of those of CLIP's text encoders."""
FEED_FORWARD = ("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "fc1", "fc2")
"""Ends of the names of the other layers of transformer blocks."""
CONVOLUTIONS = (
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
)
"""Ends of the names of the layers of a U-Net's residual blocks, and between its sizes."""


class LoraLayer(nn.Module):
    """The two factors that change one linear layer or convolution.

    ``up`` starts at zero, so that a new layer changes nothing.

    Args:
        layer: The layer that is changed.
        rank: The factors' rank; at most that of the layer.
        alpha: The change is multiplied by alpha / rank.
        generator: What ``down`` is drawn from.
    """

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, rank: int, alpha: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        outputs, inputs, *kernel = layer.weight.shape
        rank = min(rank, outputs, inputs)
        self.scale, self.alpha = alpha / rank, alpha
        self.down = nn.Parameter(torch.empty(rank, inputs, *kernel))
        self.up = nn.Parameter(torch.zeros(outputs, rank, *(1 for _ in kernel)))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5), generator=generator)
        self.convolve = (
            partial(functional.conv2d, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
            if isinstance(layer, nn.Conv2d)
            else None
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """The change of the layer's output for (n, ..., inputs) or (n, inputs, rows, columns) values."""
        values = inputs.to(self.down.dtype)
        if self.convolve is None:
            changed = functional.linear(functional.linear(values, self.down), self.up)
        else:
            changed = functional.conv2d(self.convolve(values, self.down), self.up)
        return (changed * self.scale).to(inputs.dtype)


def find_layers(network: nn.Module, endings: Iterable[str]) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linear layers and convolutions of a network whose names end with one of the endings, by name."""
    ends = tuple(f".{ending}" for ending in endings)
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and f".{name}".endswith(ends)
    }


@contextmanager
def applied(network: nn.Module, layers: Mapping[str, LoraLayer]) -> Iterator[None]:
    """Add the outputs of LoRA layers to those of a network's layers of these names, within the context."""
    modules = dict(network.named_modules())
    hooks = [
        modules[name].register_forward_hook(partial(_add_change, layer)) for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _add_change(layer: LoraLayer, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output + layer(args[0])
