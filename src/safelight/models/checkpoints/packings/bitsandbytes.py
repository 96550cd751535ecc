"""bitsandbytes: nf4, fp4 and int8, as transformers, diffusers and Forge save them.

Four bits: ``X.weight`` is U8, two codes to a byte; ``X.weight.absmax`` scales blocks; ``X.weight.quant_map`` is the
table; ``X.weight.quant_state.bitsandbytes__nf4`` is JSON with the shape and the sizes of blocks; with nested scales
there are ``nested_absmax`` and ``nested_quant_map`` too. Eight bits: ``X.weight`` is I8 and ``X.SCB`` has each row's
largest value.
"""

from __future__ import annotations

import math

from safelight.models.checkpoints.packings.file_content import FileContent, check_shape, elements
from safelight.models.checkpoints.tensor_entries import Packing

_STATE = ".quant_state.bitsandbytes__"
_DTYPES = {"nf4": "NF4", "fp4": "FP4"}


def find(content: FileContent) -> None:
    """Find the tensors that bitsandbytes quantized.

    Raises:
        ValueError: One lacks a part, or its parts do not fit together.
    """
    for name in content.stored:
        if _STATE in name:
            _add_four_bits(content, *name.split(_STATE, 1))
        elif name.endswith(".SCB"):
            _add_eight_bits(content, name.removesuffix("SCB"))


def _add_four_bits(content: FileContent, name: str, kind: str) -> None:
    state_name = f"{name}{_STATE}{kind}"
    state = content.json(state_name)
    shape, block = check_shape(state.get("shape")), state.get("blocksize")
    if kind not in _DTYPES or state.get("quant_type") != kind:
        raise ValueError(f"{name} is quantized as {str(state.get('quant_type'))[:20]}, which is not known")
    if block not in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        raise ValueError(f"{name} has blocks of {str(block)[:20]} elements")
    nested = state.get("nested_blocksize")
    roles = ["absmax", "quant_map", *(["nested_absmax", "nested_quant_map"] if nested else [])]
    parts = {"codes": name} | {role: f"{name}.{role}" for role in roles}
    for part in parts.values():
        if part not in content.stored:
            raise ValueError(f"{part} is missing")
    count = math.prod(shape)
    blocks = -(-count // block)
    wanted = {"codes": -(-count // 2), "absmax": blocks, "quant_map": 16}
    if nested:
        if nested not in (64, 128, 256, 512, 1024, 2048, 4096):
            raise ValueError(f"{name} has blocks of {str(nested)[:20]} scales")
        wanted |= {"nested_absmax": -(-blocks // nested), "nested_quant_map": 256}
    for role, number in wanted.items():
        if elements(content.stored[parts[role]]) != number:
            raise ValueError(
                f"{parts[role]} has {elements(content.stored[parts[role]])} elements, not {number}"
            )
    if content.stored[name].dtype != "U8":
        raise ValueError(f"{name} is {content.stored[name].dtype}, not U8")
    options = {"block": block, "nested": nested or 0}
    if nested:
        options["offset"] = _number(state.get("nested_offset"))
    content.add(name, _DTYPES[kind], shape, Packing("bnb-4bit", parts, options), (state_name,))


def _add_eight_bits(content: FileContent, module: str) -> None:
    name, scale, mark = f"{module}weight", f"{module}SCB", f"{module}weight_format"
    weight = content.stored.get(name)
    if weight is None or weight.dtype != "I8" or len(weight.shape) != 2:
        raise ValueError(f"{scale} has no weight of eight bits")
    if elements(content.stored[scale]) != weight.shape[0]:
        raise ValueError(f"{scale} has not one value for each row of {name}")
    content.add(name, "INT8", weight.shape, Packing("bnb-8bit", {"codes": name, "scales": scale}), (mark,))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("an offset of scales is no number")
    return float(value)
