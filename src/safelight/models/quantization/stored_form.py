"""How quantized weights are stored in a safetensors file.

nf4 is stored as bitsandbytes does it and fp8 as ComfyUI does, so that other programs can read them; int8 and int4 in
groups have no layout that others share, and so have Safelight's own (``checkpoints/packings/own.py``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch

from safelight.models.checkpoints.packings.own import METADATA
from safelight.models.quantization.safetensors_writer import Layout
from safelight.runtime.quantization.formats.integers import groups_of
from safelight.runtime.quantization.quantize import GROUPS, Target
from safelight.runtime.quantization.tensor import QuantizedTensor


def stored_layout(name: str, shape: tuple[int, ...], dtype: str, target: Target) -> Layout:
    """The tensors that a quantized weight is stored as.

    Args:
        name: Its name.
        shape: Its shape.
        dtype: The type that it had, by its name in the format.
        target: How it is quantized.
    """
    rows, group = shape[0], GROUPS[target]
    groups, size = groups_of(shape, group)
    match target:
        case "int8":
            return {name: ("I8", (rows, groups * size)), f"{name}.scales": ("BF16", (rows, groups))}
        case "int4":
            return {name: ("U8", (rows, groups * size // 2)), f"{name}.scales": ("BF16", (rows, groups))}
        case "fp8":
            return {name: ("F8_E4M3", shape), _scale_name(name): ("F32", (rows,))}
        case "nf4":
            count = math.prod(shape)
            return {
                name: ("U8", (-(-count // 2), 1)),
                f"{name}.absmax": ("F32", (-(-count // group),)),
                f"{name}.quant_map": ("F32", (16,)),
                f"{name}.quant_state.bitsandbytes__nf4": ("U8", (len(_state(shape, dtype)),)),
            }


def stored_tensors(name: str, weight: QuantizedTensor, dtype: str, target: Target) -> dict[str, torch.Tensor]:
    """The tensors that a quantized weight is stored as; the arguments are those of ``stored_layout``."""
    parts, shape = weight.packed, tuple(weight.shape)
    match target:
        case "int8" | "int4":
            return {name: parts["codes"], f"{name}.scales": parts["scales"]}
        case "fp8":
            return {name: parts["codes"].view(shape), _scale_name(name): parts["scales"].flatten()}
        case "nf4":
            state = _state(shape, dtype)
            codes = parts["codes"].flatten()[: -(-math.prod(shape) // 2)].unsqueeze(1)
            return {
                name: codes,
                f"{name}.absmax": parts["absmax"],
                f"{name}.quant_map": parts["table"],
                f"{name}.quant_state.bitsandbytes__nf4": torch.frombuffer(
                    bytearray(state), dtype=torch.uint8
                ),
            }


def stored_metadata(weights: Mapping[str, tuple[tuple[int, ...], Target]]) -> dict[str, str]:
    """What the header has to say of quantized weights: their shapes and targets are given by name."""
    own = {
        name: {"format": target, "group": GROUPS[target], "shape": list(shape)}
        for name, (shape, target) in weights.items()
        if target in ("int8", "int4")
    }
    return {METADATA: json.dumps(own)} if own else {}


def _scale_name(name: str) -> str:
    return f"{name.removesuffix('weight')}weight_scale"


def _state(shape: tuple[int, ...], dtype: str) -> bytes:
    names = {"F16": "float16", "BF16": "bfloat16"}
    state = {
        "quant_type": "nf4",
        "blocksize": GROUPS["nf4"],
        "dtype": names.get(dtype, "float32"),
        "shape": list(shape),
    }
    return json.dumps(state).encode()
