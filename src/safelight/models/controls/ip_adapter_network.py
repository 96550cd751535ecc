"""The network of an IP-Adapter: its projection, and a key and a value for each attention layer of a denoiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.transformer_flux import FluxTransformer2DLoadersMixin
from diffusers.loaders.transformer_sd3 import SD3Transformer2DLoadersMixin
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from torch import Tensor, nn

from safelight.errors import CheckpointInvalidError, ControlFamilyError
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.models.controls.discovery import ControlModel
from safelight.models.controls.ip_adapter import LAYERS, PROJECTION, own_name, own_shapes
from safelight.models.digests import file_digest
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.component import Component, ComponentKey, ComponentSource

_CONVERTERS: Mapping[str, Any] = {
    "ip-adapter": UNet2DConditionLoadersMixin,
    "flux-ip-adapter": FluxTransformer2DLoadersMixin,
    "sd3-ip-adapter": SD3Transformer2DLoadersMixin,
}
"""What has diffusers' conversion of the projection, by architecture."""


@dataclass(frozen=True)
class DenoiserLayer:
    """An attention layer of a denoiser that sees the picture.

    Args:
        name: Its name.
        number: Its number in adapters' files.
        width: Of its keys and values.
        context: Of the tokens that it reads.
    """

    name: str
    number: int
    width: int
    context: int


def denoiser_layers(architecture: str, network: Any) -> tuple[DenoiserLayer, ...]:
    """The layers of a denoiser that an adapter has weights for, in diffusers' order.

    Args:
        architecture: The adapter's.
        network: The denoiser; it needs no weights.
    """
    names = [name.removesuffix(".processor") for name in network.attn_processors]
    if architecture == "ip-adapter":  # a U-Net's layers are numbered in pairs, self-attention first
        numbered = enumerate(name for name in names if not name.endswith("attn1"))
        return tuple(_layer(network, name, 2 * place + 1, None) for place, name in numbered)
    if architecture == "flux-ip-adapter":
        double = [name for name in names if not name.startswith("single_")]
        context = network.config["joint_attention_dim"]
        return tuple(_layer(network, name, number, context) for number, name in enumerate(double))
    width = network.config["attention_head_dim"] * network.config["num_attention_heads"]
    return tuple(_layer(network, name, number, width) for number, name in enumerate(names))


def _layer(network: Any, name: str, number: int, context: int | None) -> DenoiserLayer:
    keys = network.get_submodule(name).to_k
    return DenoiserLayer(name, number, keys.out_features, keys.in_features if context is None else context)


class IPAdapter(nn.Module):
    """An IP-Adapter.

    Args:
        projection: Makes tokens of what the image encoder gives.
        layers: What each layer of the denoiser gets, by its name.
    """

    def __init__(self, projection: nn.Module, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.projection = projection
        self.names = tuple(layers)
        self.layers = nn.ModuleList(layers.values())

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device


class KeyAndValue(nn.Module):
    """What a layer gets: the projections of the tokens to keys and to values.

    Args:
        tensors: ``to_k_ip.weight``, ``to_v_ip.weight``, and their biases where they have some.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.to_k_ip, self.to_v_ip = (_linear(tensors, name) for name in ("to_k_ip", "to_v_ip"))


def ip_adapter_source(
    model: ControlModel,
    layers: Sequence[DenoiserLayer],
    precision: str,
    device: torch.device,
    cache: Path,
) -> ComponentSource:
    """The source of an adapter's network, for a denoiser.

    Args:
        model: The adapter.
        layers: The denoiser's layers.
        precision: Of its weights: fp32, bf16 or fp16.
        device: Where it is kept.
        cache: The cache folder.

    Raises:
        ControlFamilyError: It is for a denoiser of another size.
        FileMissingError: Its file cannot be read.
    """
    check_layers(model, layers)
    dtype = DTYPES[precision]
    key = ComponentKey(file_digest(model.path, cache), precision)

    def load() -> Component:
        network = _load(model, layers, dtype).requires_grad_(False).eval().to(device, dtype)
        return Component(key, network, sum(parameter.nbytes for parameter in network.parameters()))

    elements = sum(entry.elements for entry in read_header(model.path).tensors.values())
    return ComponentSource(key, elements * dtype.itemsize, load)


def check_layers(model: ControlModel, layers: Sequence[DenoiserLayer]) -> None:
    """Refuse an adapter whose layers are not a denoiser's, from its header.

    Raises:
        ControlFamilyError: They are not.
    """
    shapes = read_header(model.path).derive(own_shapes)
    keys = {name: shape for name, shape in shapes.items() if name.endswith(".to_k_ip.weight")}
    for layer in layers:
        given = keys.pop(f"{LAYERS}{layer.number}.to_k_ip.weight", None)
        if given != (layer.width, layer.context):
            found = "none" if given is None else f"keys of {given[0]} from tokens of {given[-1]}"
            raise _unfit(
                model, f"{layer.name} takes keys of {layer.width} from {layer.context}, and it has {found}"
            )
    if keys:
        raise _unfit(model, f"it has {len(keys)} layers more than the checkpoint's {len(layers)}")


def _unfit(model: ControlModel, reason: str) -> ControlFamilyError:
    return ControlFamilyError(
        f"{model.name} does not fit the checkpoint: {reason}.",
        hint="Give an IP-Adapter that was trained for this checkpoint or one of its size.",
    )


def _load(model: ControlModel, layers: Sequence[DenoiserLayer], dtype: torch.dtype) -> IPAdapter:
    tensors = {
        own_name(name): tensor.to(dtype, copy=True) for name, tensor in read_tensors(model.path).items()
    }
    try:
        projection = _projection(model.architecture.name, _after(tensors, PROJECTION))
        own = {
            layer.name: _build_layer(model, _after(tensors, f"{LAYERS}{layer.number}.")) for layer in layers
        }
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise CheckpointInvalidError(f"{model.path} is not laid out as an IP-Adapter is: {error}.") from error
    return IPAdapter(projection, own)


def _projection(architecture: str, tensors: dict[str, Tensor]) -> nn.Module:
    """The projection, as diffusers builds it from the authors' names."""
    convert = _CONVERTERS[architecture]._convert_ip_adapter_image_proj_to_diffusers
    with torch.random.fork_rng(devices=[]):  # a new module draws weights before it gets its own
        projection: nn.Module | None = convert(None, tensors, low_cpu_mem_usage=False)
    if projection is None:
        raise ValueError("its projection is of no kind that diffusers knows")
    return projection


def _build_layer(model: ControlModel, tensors: Mapping[str, Tensor]) -> nn.Module:
    if model.architecture.name != "sd3-ip-adapter":
        return KeyAndValue(tensors)
    width, context = tensors["to_k_ip.weight"].shape
    with torch.device("meta"):
        layer = SD3IPAdapterJointAttnProcessor2_0(
            hidden_size=width,
            ip_hidden_states_dim=context,
            head_dim=tensors["norm_q.weight"].shape[0],
            timesteps_emb_dim=tensors["norm_ip.linear.weight"].shape[1],
        )
    layer.load_state_dict(dict(tensors), assign=True)
    return layer


def _linear(tensors: Mapping[str, Tensor], name: str) -> nn.Linear:
    weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}), assign=True)
    return layer


def _after(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
