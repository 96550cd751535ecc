"""Read and check the header of a weights file, safetensors or GGUF, without loading a tensor.

Safetensors is the header's length in eight bytes (little-endian), the header in JSON, and the tensors' bytes
(https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from safelight.errors import CheckpointInvalidError, FileMissingError, PickleRefusedError
from safelight.models.checkpoints.gguf_header import MAGIC, read_gguf_header
from safelight.models.checkpoints.packings import describes_codes, fold, has_codes
from safelight.models.checkpoints.tensor_entries import (
    PRECISIONS,
    Header,
    StoredTensor,
    TensorEntry,
)
from safelight.models.digests import FileVersion, file_version

MAX_HEADER_BYTES = 25_000_000
"""Largest header in bytes; the format allows four times that, and a checkpoint has less than a million."""
MAX_BRACKETS = 600_000
"""Most opening brackets in a header, three for each tensor: an empty object takes thirty times its text in memory."""

__all__ = [
    "PRECISIONS",
    "Header",
    "TensorEntry",
    "check_not_pickle_bytes",
    "check_not_pickle_name",
    "count_elements",
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
_SPACE = r"[ \t\n\r]*+"  # as JSON has it
_METADATA = re.compile(rf'\{{{_SPACE}"__metadata__"{_SPACE}:{_SPACE}')
_AFTER_METADATA = re.compile(rf'{_SPACE}(?:,{_SPACE}(?=")|(?=\}}))')
_MAX_SHARED = 2_000_000
"""Longest text, in characters, whose tensors are kept for other files with the same; a tensor takes a hundred."""


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
            text = start[8:] + file.read(_header_length(path, start, size) - 1)
            _check_brackets(path, text)
            table, metadata = _parse(path, text)
            begin = 8 + len(text)
            _check_size(path, begin + table.size, size)
            if not table.has_codes and not describes_codes(metadata):
                return Header(table.tensors, metadata, derived=table.derived)
            stored = {
                name: StoredTensor(tensor.dtype, tensor.shape, tensor.nbytes, begin + offset)
                for (name, tensor), offset in zip(table.tensors.items(), table.begins, strict=True)
            }
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


def main_precision(tensors: Iterable[TensorEntry]) -> str:
    """The type of most weights: fp32, fp16, bf16, fp8, int8, nf4, q4_k …; "" if there are no such tensors."""
    elements = count_elements(tensors)
    return max(elements, key=elements.__getitem__, default="")


def count_elements(tensors: Iterable[TensorEntry]) -> Counter[str]:
    """The number of weights by type (fp32, fp16, bf16, fp8, int8, nf4, q4_k …)."""
    by_dtype: Counter[str] = Counter()
    for dtype, shape, *_ in tensors:
        by_dtype[dtype] += math.prod(shape)
    by_precision: Counter[str] = Counter()
    for dtype in by_dtype.keys() & PRECISIONS.keys():
        by_precision[PRECISIONS[dtype]] += by_dtype[dtype]
    return by_precision


def _header_length(path: Path, start: bytes, size: int) -> int:
    if start.startswith(b"version h"):
        raise CheckpointInvalidError(
            f"{path} is a git-lfs pointer instead of the weights.", hint="Fetch them with: git lfs pull"
        )
    if len(start) < 9:
        raise CheckpointInvalidError(f"{path} has {size} bytes: too few for a safetensors file.")
    length: int = struct.unpack("<Q", start[:8])[0]
    if start[8:9] != b"{" or length < 2:
        raise CheckpointInvalidError(f"{path} is not a safetensors file: it does not begin with a header.")
    if length > MAX_HEADER_BYTES:
        raise CheckpointInvalidError(
            f"{path} has a header of {length} bytes, which is more than a file of weights needs."
        )
    if 8 + length > size:
        raise CheckpointInvalidError(
            f"{path} is cut short: its header has {length} bytes, the file {size} in all."
        )
    return length


def _check_brackets(path: Path, text: bytes) -> None:
    """Refuse a header that would take many times its size in memory."""
    brackets = text.count(b"{") + text.count(b"[")
    if brackets > MAX_BRACKETS:
        raise CheckpointInvalidError(
            f"{path} has {brackets} brackets in its header, which is more than weights need."
        )


@dataclass(frozen=True, eq=False)
class _Table:
    """The tensors that a header lists.

    Args:
        size: Their bytes.
        metadata: The metadata, where they do not stand before the tensors.
        tensors: The tensors, each by itself.
        begins: Where each begins, counted from the end of the header.
        has_codes: Whether some may be quantized.
        derived: As in ``Header``.
    """

    size: int
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorEntry]
    begins: Sequence[int]
    has_codes: bool
    derived: dict[Callable[..., object], Any] = field(default_factory=dict)


def _parse(path: Path, text: bytes) -> tuple[_Table, Mapping[str, str]]:
    """The tensors and the metadata."""
    try:
        metadata, tensors = _take_metadata(text.decode())
        table = (_parse_table if len(tensors) <= _MAX_SHARED else _parse_table.__wrapped__)(tensors)
        return table, _only_metadata(metadata, table.metadata)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointInvalidError(f"{path} has a damaged header: {error}.") from error


def _only_metadata(first: Mapping[str, str] | None, later: Mapping[str, str]) -> Mapping[str, str]:
    """The metadata, which stand before the tensors or among them."""
    if first is not None and later:
        raise ValueError("a name is there twice")
    return later if first is None else first


def _take_metadata(text: str) -> tuple[Mapping[str, str] | None, str]:
    """The metadata, where a header begins with them, and the header without them.

    Files of one network differ in their metadata, and in the spaces at the end, but hardly in their tensors.
    """
    begin = _METADATA.match(text)
    if begin is None:
        return None, text
    metadata, end = _DECODER.raw_decode(text, begin.end())
    rest = _AFTER_METADATA.match(text, end)
    if rest is None:
        raise ValueError("its metadata do not end")
    return _check_texts(metadata), "{" + text[rest.end() :].rstrip(" ")


@lru_cache(maxsize=32)  # about a megabyte each, for Stable Diffusion XL
def _parse_table(text: str) -> _Table:
    """The tensors of a header; those of the last few texts are kept, since people have many files of one network."""
    entries = _load(text)
    metadata = _check_texts(entries.pop("__metadata__", None))
    tensors: dict[str, TensorEntry] = {}
    begins = []
    for name, entry in entries.items():
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if type(shape) is not list or type(end) is not int:
            raise TypeError("an entry is not of the format's form")
        if dtype not in _BITS:
            raise ValueError(f"there is no type {str(dtype)[:20]!r}")
        nbytes = end - begin
        if math.prod(shape) * _BITS[dtype] // 8 != nbytes:
            raise ValueError(f"a tensor of shape {shape} and type {dtype} does not have {nbytes} bytes")
        tensors[name] = TensorEntry(dtype, tuple(shape), nbytes)
        begins.append(begin)
    _check_numbers(tensors, begins)
    size = _check_places(tensors, begins)
    return _Table(size, metadata, tensors, begins, has_codes(tensors))


def _load(text: str) -> dict[str, Any]:
    """A header's JSON; a name that is there twice is refused.

    Python's decoder finds such names at twice the time. They cannot be where there are no more colons than each tensor
    needs: one after its name and three within.
    """
    found: dict[str, Any] = json.loads(text)
    if "__metadata__" in found or text.count(":") != 4 * len(found):
        found = _DECODER.decode(text)
    return found


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)


def _check_texts(metadata: Any) -> Mapping[str, str]:
    if metadata is None:
        return {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError("its metadata are not texts")
    return dict(metadata)


def _check_numbers(tensors: Mapping[str, TensorEntry], begins: list[int]) -> None:
    """Refuse shapes and offsets that are not whole numbers from 0 on."""
    numbers = list(chain.from_iterable(tensor.shape for tensor in tensors.values()))
    numbers += begins
    numbers += [tensor.nbytes for tensor in tensors.values()]
    if not _WHOLE_NUMBERS.issuperset(map(type, numbers)):
        raise TypeError("a shape or an offset is not a whole number")
    if min(numbers, default=0) < 0:
        raise ValueError("a shape or an offset is negative")


def _check_places(tensors: Mapping[str, TensorEntry], begins: list[int]) -> int:
    """Refuse tensors that overlap or leave bytes between them, as the format demands.

    Returns:
        The bytes of all tensors.
    """
    expected = 0
    sizes = [tensor.nbytes for tensor in tensors.values()]
    for begin, nbytes, name in sorted(zip(begins, sizes, tensors, strict=True)):
        if begin != expected:
            raise ValueError(f"the bytes of {name} begin at {begin}, not at {expected}")
        expected += nbytes
    return expected


def _check_size(path: Path, expected: int, size: int) -> None:
    if size < expected:
        raise CheckpointInvalidError(f"{path} is cut short: {size} bytes of {expected}.")
    if size > expected:
        raise CheckpointInvalidError(f"{path} has {size} bytes where its header speaks of {expected}.")
