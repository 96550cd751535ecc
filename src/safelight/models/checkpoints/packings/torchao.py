"""torchao: int8, int4 and fp8 weights as ``flatten_tensor_state_dict`` of its ``prototype.safetensors`` writes them.

The metadata have a JSON text for each tensor, which names its class, its attributes and its parts; the part P of
``M.weight`` is stored as ``M._weight_P``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from safelight.models.checkpoints.packings.file_content import FileContent, check_shape, elements
from safelight.models.checkpoints.tensor_entries import Packing

_INTEGERS = {"int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8"}


def find(content: FileContent) -> None:
    """Find the tensors that torchao quantized.

    Raises:
        ValueError: One is of a class that is not known, lacks a part, or its parts do not fit together.
    """
    text = content.metadata.get("tensor_names")
    if text is None:
        return
    names = json.loads(text)
    if not isinstance(names, list):
        raise TypeError("the list of torchao's tensors is none")
    for name in names:
        if str(name) not in content.metadata:
            continue
        described = json.loads(content.metadata[str(name)])
        kind = described.get("_type")
        if kind in (None, "Tensor"):
            continue
        parts = {role: _part_name(str(name), str(role)) for role in described["_tensor_data_names"]}
        if not any(part in content.stored for part in parts.values()):
            continue  # in another shard
        if missing := [part for part in parts.values() if part not in content.stored]:
            raise ValueError(f"{missing[0]} is missing")
        if kind not in _CLASSES:
            raise ValueError(f"{name} is torchao's {str(kind)[:40]}, which is not known")
        _CLASSES[kind](content, str(name), parts, described["_data"])


def _part_name(name: str, role: str) -> str:
    module, dot, last = name.rpartition(".")
    return f"{module}{dot}_{last}_{role}"


def _group(name: str, shape: tuple[int, ...], attributes: Mapping[str, Any]) -> int:
    """Elements of a row that share a scale."""
    block = check_shape(attributes.get("block_size"))
    if len(block) != len(shape) or block[0] != 1 or block[1:-1] != shape[1:-1] or not block[-1]:
        raise ValueError(f"{name} has scales for blocks of {list(block)}, which is not known")
    group = math.prod(block)
    if math.prod(shape[1:]) % group:
        raise ValueError(f"{name} has rows that are no whole number of blocks of {list(block)}")
    return group


def _check_scales(content: FileContent, parts: Mapping[str, str], count: int) -> None:
    for role in ("scale", "zero_point"):
        if role in parts and elements(content.stored[parts[role]]) != count:
            raise ValueError(f"{parts[role]} has not {count} values")


def _int8(content: FileContent, name: str, parts: dict[str, str], attributes: Mapping[str, Any]) -> None:
    """``Int8Tensor`` and ``IntxUnpackedToInt8Tensor``: a byte for each code, however few bits it has."""
    if unknown := set(parts) - {"qdata", "scale", "zero_point"}:
        raise ValueError(f"{name} has a part {min(unknown)}, which is not known")
    stored = content.stored[parts["qdata"]]
    if stored.dtype != "I8" or len(stored.shape) < 2:
        raise ValueError(f"{parts['qdata']} is no matrix of eight bits")
    bits = attributes.get("target_dtype", {}).get("_data", "int8")
    if bits not in _INTEGERS:
        raise ValueError(f"{name} has codes of the type {str(bits)[:20]}")
    group = _group(name, stored.shape, attributes)
    _check_scales(content, parts, elements(stored) // group)
    few = bits in ("int1", "int2", "int3", "int4") and group % 2 == 0
    packing = Packing("torchao-int8", parts, {"group": group, "four_bits": few})
    content.add(name, "INT4" if few else "INT8", stored.shape, packing)


def _int4(content: FileContent, name: str, parts: dict[str, str], attributes: Mapping[str, Any]) -> None:
    """``Int4Tensor``: two codes to a byte, and the scales transposed."""
    if unknown := set(parts) - {"qdata", "scale", "zero_point"}:
        raise ValueError(f"{name} has a part {min(unknown)}, which is not known")
    shape = check_shape(attributes.get("shape"))
    stored = content.stored[parts["qdata"]]
    if len(shape) != 2 or stored.dtype not in ("I8", "U8") or elements(stored) * 2 != math.prod(shape):
        raise ValueError(f"{parts['qdata']} is no matrix of four bits of the shape {list(shape)}")
    group = _group(name, shape, attributes)
    if group % 2:
        raise ValueError(f"{name} has groups of {group} elements")
    _check_scales(content, parts, math.prod(shape) // group)
    content.add(name, "INT4", shape, Packing("torchao-int4", parts, {"group": group}))


def _float8(content: FileContent, name: str, parts: dict[str, str], _: Mapping[str, Any]) -> None:
    stored, scale = content.stored[parts["qdata"]], content.stored[parts["scale"]]
    if stored.dtype not in ("F8_E4M3", "F8_E5M2") or len(stored.shape) < 2:
        raise ValueError(f"{parts['qdata']} is no matrix of eight-bit floating-point numbers")
    if elements(scale) not in (1, stored.shape[0]):
        raise ValueError(f"{parts['scale']} has {elements(scale)} values for {stored.shape[0]} rows")
    role = "scale" if elements(scale) == 1 else "scales"
    content.add(
        name, stored.dtype, stored.shape, Packing("fp8", {"codes": parts["qdata"], role: parts["scale"]})
    )


_CLASSES = {
    "Int8Tensor": _int8,
    "IntxUnpackedToInt8Tensor": _int8,
    "Int4Tensor": _int4,
    "Float8Tensor": _float8,
}
