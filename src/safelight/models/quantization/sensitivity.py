"""Measure what quantization does to each layer of a network: the error of its output in calls of the network."""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from safelight.models.checkpoints.loading import LoadedCheckpoint
from safelight.runtime.quantization.quantize import Target, quantize_weight

PROMPT = "a red apple on a table"
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""The layers whose weights are quantized."""

_STEPS = 2
_LARGEST_SIDE = 512
"""Pictures are not larger while layers are measured: the errors hardly depend on the size."""


@dataclass(frozen=True)
class LayerError:
    """What quantization does to a layer.

    Args:
        name: Its name in the network.
        error: The norm of the change of its output as a share of the output's norm, over all measured calls; NaN if
            it was not called.
        repeated: Whether it is in one of the network's repeated blocks, rather than first, last or in the embedding of
            the time.
    """

    name: str
    error: float
    repeated: bool


def measure_layers(
    checkpoint: LoadedCheckpoint, components: tuple[str, ...], target: Target
) -> dict[str, dict[str, LayerError]]:
    """Measure the layers of some networks in one generation of two steps; by component and layer.

    Args:
        checkpoint: A checkpoint that is loaded and not used by anything else.
        components: The networks' names.
        target: The quantization.
    """
    squares: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    layers = {
        (component, name): layer
        for component in components
        for name, layer in checkpoint.networks[component].network.named_modules()
        if isinstance(layer, LAYERS)
    }
    handles = [layer.register_forward_hook(_compare(squares[key], target)) for key, layer in layers.items()]
    try:
        _generate(checkpoint)
    finally:
        for handle in handles:
            handle.remove()
    found: dict[str, dict[str, LayerError]] = {component: {} for component in components}
    for component, name in layers:
        change, size = squares[component, name]
        error = math.sqrt(change / size) if size else math.nan
        repeated = any(part.isdigit() for part in name.split("."))
        found[component][name] = LayerError(name, error, repeated)
    return found


def layers_by_first_row(
    networks: Mapping[str, nn.Module], errors: Mapping[str, Mapping[str, LayerError]]
) -> dict[bytes, LayerError]:
    """The measured layers by the first row of their weight, by which they are recognized in any file's layout."""
    found: dict[bytes, LayerError] = {}
    for component, network in networks.items():
        for name, error in errors[component].items():
            weight = network.get_submodule(name).weight
            key = row_key(weight, 0, weight.dtype)
            if key not in found or found[key].error < error.error:  # rows of zeros are all equal
                found[key] = error
    return found


def row_key(weight: torch.Tensor, row: int, dtype: torch.dtype) -> bytes:
    """What identifies a row of a weight in a precision, whatever the shape of the row is."""
    values = weight[row].detach().flatten()[:256].to(dtype).float()
    return bytes(values.contiguous().numpy().tobytes())


def _compare(squares: list[float], target: Target) -> Any:
    """A hook that computes a layer's output with its weight quantized and sums the squares of change and output."""

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        weight = quantize_weight(layer.weight, target).dequantize(layer.weight.dtype)
        given = inputs[0].to(weight.dtype)
        if isinstance(layer, nn.Linear):
            changed = F.linear(given, weight, layer.bias)
            plain = output if layer.bias is None else output - layer.bias
        else:
            changed = layer._conv_forward(given, weight, layer.bias)
            plain = output if layer.bias is None else output - layer.bias.view(-1, *[1] * (weight.dim() - 2))
        squares[0] += float((changed - output).float().square().sum())
        squares[1] += float(plain.float().square().sum())

    return hook


def _generate(checkpoint: LoadedCheckpoint) -> None:
    pipeline = checkpoint.pipeline()
    family = checkpoint.family
    side = min(checkpoint.default_side, _LARGEST_SIDE)
    wanted: dict[str, Any] = {"height": side, "width": side, **family.call_arguments}
    accepted = inspect.signature(pipeline.__call__).parameters
    arguments = {name: value for name, value in wanted.items() if name in accepted}
    with torch.inference_mode():
        pipeline(
            prompt=PROMPT,
            num_inference_steps=_STEPS,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            **arguments,
        )
