"""Load a component of a diffusers folder whose weights are quantized.

The libraries would want the program that quantized it; here the tensors are read packed and put into the network as it
is.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ModelMixin

from safelight.models.checkpoints.diffusers_layout import ComponentFiles
from safelight.models.checkpoints.safetensors_header import read_header
from safelight.models.checkpoints.weights_reader import read_tensors
from safelight.runtime.quantization.tensor import to_precision

_CONFIG = "quantization_config"


def is_quantized(files: ComponentFiles) -> bool:
    """Whether any of a component's tensors is stored packed, or its config says that it is quantized."""
    return _CONFIG in files.config() or any(
        entry.packing for file in files.weights for entry in read_header(file).tensors.values()
    )


def load_quantized_network(files: ComponentFiles, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
    """Load a network of diffusers or transformers with its weights packed.

    Args:
        files: The component's files.
        kind: The network's class.
        dtype: The type of the results, and of the weights that are not quantized.

    Raises:
        ValueError: It lacks a tensor.
        RuntimeError: A tensor has the wrong shape.
        CheckpointInvalidError, FileMissingError: A file cannot be read.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in files.weights:
        tensors |= read_tensors(file)
    config = {name: value for name, value in files.config().items() if name != _CONFIG}
    if not issubclass(kind, ModelMixin):
        return _load_with_transformers(kind, config, tensors, dtype)
    with init_empty_weights():
        network: torch.nn.Module = kind.from_config(config)
    network._fix_state_dict_keys_on_load(tensors)
    wanted = network.state_dict().keys()
    _refuse_missing(sorted(wanted - tensors.keys()))
    in_full = set(kind._keep_in_fp32_modules or ())
    own = {
        name: to_precision(tensors[name], torch.float32 if in_full & set(name.split(".")) else dtype)
        for name in wanted
    }
    network.load_state_dict(own, assign=True)
    return network


def _load_with_transformers(
    kind: Any, config: dict[str, Any], tensors: dict[str, torch.Tensor], dtype: torch.dtype
) -> torch.nn.Module:
    network, report = kind.from_pretrained(
        None,
        config=kind.config_class.from_dict(config),
        state_dict={name: to_precision(tensor, dtype) for name, tensor in tensors.items()},
        dtype=dtype,
        output_loading_info=True,
    )
    _refuse_missing(sorted(report["missing_keys"]))
    loaded: torch.nn.Module = network
    return loaded


def _refuse_missing(missing: list[str]) -> None:
    if missing:
        raise ValueError(f"it lacks {len(missing)} tensors, {missing[0]} among them.")
