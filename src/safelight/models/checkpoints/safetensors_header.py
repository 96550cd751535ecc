"""Read and check the header of a weights file, safetensors or GGUF, without loading a tensor.

Safetensors is the header's length in eight bytes (little-endian), the header in JSON, and the tensors' bytes
(https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from safelight.errors import CheckpointInvalidError, FileMissingError, PickleRefusedError
from safelight.models.checkpoints.gguf_header import MAGIC, read_gguf_header
from safelight.models.checkpoints.packings import fold
from safelight.models.checkpoints.tensor_entries import PRECISIONS, Header, StoredTensor, TensorEntry
from safelight.models.digests import FileVersion, file_version

MAX_HEADER_BYTES = 100_000_000
"""Largest header in bytes: the format's own limit."""

__all__ = [
    "PRECISIONS",
    "Header",
    "TensorEntry",
    "check_not_pickle_bytes",
    "check_not_pickle_name",
    "main_precision",
    "read_header",
]

PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""All types of the format."""


_WHOLE_NUMBERS = frozenset({int})  # and no bool, which isinstance would take for one


def read_header(path: Path) -> Header:
    """Read and check a weights file's header.

    Raises:
        FileMissingError: It cannot be read.
        PickleRefusedError: It is a pickle, by its name or its content.
        CheckpointInvalidError: It is not a complete safetensors or GGUF file, or quantized in a way that is not known.
    """
    check_not_pickle_name(path)
    return _read_header(path, file_version(path))


@lru_cache(maxsize=1)
def _read_header(path: Path, version: FileVersion) -> Header:
    """Read the header of a version of a file: several callers in a row ask for the same."""
    size = version[0]
    try:
        with path.open("rb") as file:
            start = file.read(9)
            check_not_pickle_bytes(path, start)
            if start.startswith(MAGIC):
                return read_gguf_header(path, file, size)
            body = file.read(_header_length(path, start, size) - 1)
            stored, metadata = _parse(path, start[8:] + body)
            _check_size(path, stored, 8 + 1 + len(body), size)
            return Header(fold(path, file, stored, metadata), metadata, "safetensors", stored)
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_not_pickle_name(path: Path) -> None:
    """Refuse a file with a pickle's suffix.

    Raises:
        PickleRefusedError: The suffix is one of ``PICKLE_SUFFIXES``.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise PickleRefusedError(f"{path} is a pickle file, which can run any code when opened.")


def check_not_pickle_bytes(path: Path, start: bytes) -> None:
    """Refuse a file whose first nine bytes are those of a pickle or a torch archive.

    A safetensors file with a header of 640 bytes begins with a pickle's first two bytes too, but its ninth byte is a
    brace.

    Raises:
        PickleRefusedError: The file is a pickle or a torch archive.
    """
    archive = start[:4] == b"PK\x03\x04"
    pickle = start[:1] == b"\x80" and start[1:2] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05")
    if (archive or pickle) and start[8:9] != b"{":
        raise PickleRefusedError(
            f"{path} is a pickle file under another name; it can run any code when opened."
        )


def main_precision(tensors: list[TensorEntry]) -> str:
    """The type of most weights: fp32, fp16, bf16, fp8, int8, nf4, q4_k …; "" if there are no such tensors."""
    elements: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in PRECISIONS:
            elements[PRECISIONS[tensor.dtype]] += tensor.elements
    return elements.most_common(1)[0][0] if elements else ""


def _header_length(path: Path, start: bytes, size: int) -> int:
    if start.startswith(b"version h"):
        raise CheckpointInvalidError(
            f"{path} is a git-lfs pointer instead of the weights.", hint="Fetch them with: git lfs pull"
        )
    if len(start) < 9:
        raise CheckpointInvalidError(f"{path} has {size} bytes: too few for a safetensors file.")
    length: int = struct.unpack("<Q", start[:8])[0]
    if start[8:9] != b"{" or not 2 <= length <= MAX_HEADER_BYTES:
        raise CheckpointInvalidError(f"{path} is not a safetensors file: it does not begin with a header.")
    if 8 + length > size:
        raise CheckpointInvalidError(
            f"{path} is cut short: its header has {length} bytes, the file {size} in all."
        )
    return length


def _parse(path: Path, text: bytes) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors and the metadata."""
    try:
        entries = json.loads(text, object_pairs_hook=_unique_keys)
        metadata = entries.pop("__metadata__", None) or {}
        stored = {name: _parse_tensor(entry, 8 + len(text)) for name, entry in entries.items()}
        _check_places(stored, 8 + len(text))
        _check_texts(metadata)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointInvalidError(f"{path} has a damaged header: {error}.") from error
    return stored, metadata


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _check_texts(metadata: Mapping[str, object]) -> None:
    if not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError("its metadata are not texts")


def _parse_tensor(entry: dict[str, object], data_begins: int) -> StoredTensor:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        raise TypeError("an entry is not of the format's form")
    if not _WHOLE_NUMBERS.issuperset(map(type, (*shape, *offsets))):
        raise TypeError("a shape or an offset is not a whole number")
    begin, end = offsets
    sides = tuple(shape)
    if min((*sides, begin, end - begin)) < 0:
        raise ValueError("a shape or an offset is negative")
    if dtype not in _BITS:
        raise ValueError(f"there is no type {dtype[:20]!r}")
    if math.prod(sides) * _BITS[dtype] // 8 != end - begin:
        raise ValueError(
            f"a tensor of shape {list(sides)} and type {dtype} does not have {end - begin} bytes"
        )
    return StoredTensor(dtype, sides, end - begin, data_begins + begin)


def _check_places(stored: Mapping[str, StoredTensor], data_begins: int) -> None:
    """Refuse tensors that overlap or leave bytes between them, as the format demands."""
    expected = data_begins
    for name, tensor in sorted(stored.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if tensor.offset != expected:
            begin = tensor.offset - data_begins
            raise ValueError(f"the bytes of {name} begin at {begin}, not at {expected - data_begins}")
        expected += tensor.nbytes


def _check_size(path: Path, stored: Mapping[str, StoredTensor], data_begins: int, size: int) -> None:
    expected = data_begins + sum(tensor.nbytes for tensor in stored.values())
    if size < expected:
        raise CheckpointInvalidError(f"{path} is cut short: {size} bytes of {expected}.")
    if size > expected:
        raise CheckpointInvalidError(f"{path} has {size} bytes where its header speaks of {expected}.")
