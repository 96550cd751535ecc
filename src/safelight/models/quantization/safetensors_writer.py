"""Write a safetensors file tensor by tensor, so that never more than one is in memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""The tensors of a file by name: each one's type, by its name in the format, and its shape."""

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
"""The format's names of torch's types."""


def file_size(layout: Layout, metadata: Mapping[str, str]) -> int:
    """The bytes of a file of these tensors."""
    return len(_header(layout, metadata)) + sum(_nbytes(*entry) for entry in layout.values())


def write_safetensors(
    path: Path,
    layout: Layout,
    metadata: Mapping[str, str],
    groups: Iterable[Mapping[str, torch.Tensor]],
    on_bytes: Callable[[int], None],
) -> None:
    """Write a file.

    Args:
        path: The file.
        layout: All its tensors.
        metadata: Texts of its header.
        groups: The tensors, a few at a time, in any order; each one once.
        on_bytes: Called with the number of bytes that were just written; what it raises ends the writing.

    Raises:
        OSError: It cannot be written.
    """
    header = _header(layout, metadata)
    offsets = _offsets(layout)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(_nbytes(*entry) for entry in layout.values()))
        for group in groups:
            for name, tensor in group.items():
                dtype, shape = layout[name]
                assert (tensor.dtype, tuple(tensor.shape)) == (_DTYPES[dtype], shape), name
                data = tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
                file.seek(len(header) + offsets[name])
                file.write(memoryview(data))
                on_bytes(data.nbytes)


def _order(layout: Layout) -> list[str]:
    """Large types first, so that each tensor's bytes are aligned."""
    return sorted(layout, key=lambda name: (-_DTYPES[layout[name][0]].itemsize, name))


def _offsets(layout: Layout) -> dict[str, int]:
    offsets, position = {}, 0
    for name in _order(layout):
        offsets[name] = position
        position += _nbytes(*layout[name])
    return offsets


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * int(_DTYPES[dtype].itemsize)


def _header(layout: Layout, metadata: Mapping[str, str]) -> bytes:
    offsets = _offsets(layout)
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for name in _order(layout):
        dtype, shape = layout[name]
        begin = offsets[name]
        entries[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [begin, begin + _nbytes(dtype, shape)],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
