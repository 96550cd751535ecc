"""Read and check the header of a GGUF file, the format of llama.cpp, without loading a tensor.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Everything in it is counted by the file
itself, so each count is checked against the bytes that are left before anything is read or allocated.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from safelight.errors import CheckpointInvalidError, FileMissingError
from safelight.models.checkpoints.llama_names import rename
from safelight.models.checkpoints.tensor_entries import Header, Packing, StoredTensor, TensorEntry
from safelight.runtime.quantization.block_sizes import BLOCK_SIZES

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 100_000_000
"""Largest header in bytes; a tokenizer of 256,000 words takes about ten million."""

Value = int | float | bool | str | list["Value"]
"""A value of the metadata."""

_MAX_TENSORS = 100_000
_MAX_VALUES = 100_000
_MAX_NAME = 1024
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
_LONGEST_LIST = 16
"""The longest list that a header needs: a shape."""

_PLAIN = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "I16": 2, "I32": 4, "I64": 8}
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
"""ggml's types by number."""

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
"""Where converters for ComfyUI keep the shape of a tensor that they had to reshape."""


def read_gguf_header(path: Path, file: BinaryIO, size: int) -> Header:
    """Read and check the header of an open GGUF file of ``size`` bytes.

    Text encoders have transformers' names (``llama_names``). The metadata of the header are its texts and numbers;
    lists, such as the tokenizer's words, are read by ``read_gguf_metadata``.

    Raises:
        CheckpointInvalidError: It is not a complete GGUF file, or has tensors of a type that is not read.
    """
    try:
        values, stored = _parse(_Reader(file, size, longest_list=_LONGEST_LIST), size)
        metadata = {key: str(value) for key, value in values.items() if not isinstance(value, list)}
        tensors = rename({name: _entry(name, tensor, values) for name, tensor in stored.items()}, metadata)
    except ValueError as error:
        raise CheckpointInvalidError(f"{path} is a damaged GGUF file: {error}.") from error
    return Header(tensors, metadata, "gguf", stored)


def read_gguf_metadata(path: Path) -> dict[str, Value]:
    """All metadata of a GGUF file, with its lists: the tokenizer's words, for example.

    Raises:
        FileMissingError: It cannot be read.
        CheckpointInvalidError: It is not a complete GGUF file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            return _parse(_Reader(file, size), size)[0]
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CheckpointInvalidError(f"{path} is a damaged GGUF file: {error}.") from error


class _Reader:
    """Reads values from the start of a file, never more bytes than a header may have.

    Args:
        file: The file.
        size: Its bytes.
        longest_list: Lists that are longer, such as a tokenizer's words, are read over, and are empty in the result.
    """

    def __init__(self, file: BinaryIO, size: int, *, longest_list: int = MAX_HEADER_BYTES) -> None:
        file.seek(0)
        self._file = file
        self._longest_list = longest_list
        self._end = min(size, MAX_HEADER_BYTES)
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise ValueError("its header does not end within the file")
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("it is cut short")
        self.position += count
        return data

    def number(self, code: str) -> int:
        """The next whole number."""
        value: int = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return value

    def count(self, what: str, most: int, least_bytes: int) -> int:
        """The next count of items, each of which takes at least so many bytes."""
        value = self.number("<Q")
        if value > most or value * least_bytes > self.left:
            raise ValueError(f"it speaks of {value} {what}")
        return value

    def text(self, most: int = MAX_HEADER_BYTES) -> str:
        """The next text."""
        length = self.number("<Q")
        if length > min(most, self.left):
            raise ValueError(f"it has a text of {length} bytes")
        return self.take(length).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Value:
        """The next value of the metadata."""
        if kind in _SCALARS:
            code = _SCALARS[kind]
            value: int | float | bool = struct.unpack(code, self.take(struct.calcsize(code)))[0]
            return value
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise ValueError(f"it has a value of the unknown type {kind}")
        if depth == _MAX_DEPTH:
            raise ValueError("its lists are nested too deep")
        inner = self.number("<I")
        if inner in _SCALARS:
            code = _SCALARS[inner]
            width = struct.calcsize(code)
            count = self.count("values", MAX_HEADER_BYTES, width)
            data = self.take(count * width)
            return list(struct.unpack(f"<{count}{code[1]}", data)) if count <= self._longest_list else []
        count = self.count("values", MAX_HEADER_BYTES, 8)
        if count <= self._longest_list:
            return [self.value(inner, depth + 1) for _ in range(count)]
        for _ in range(count):
            self.value(inner, depth + 1)
        return []


def _parse(reader: _Reader, size: int) -> tuple[dict[str, Value], dict[str, StoredTensor]]:
    """The metadata and the tensors."""
    if reader.take(4) != MAGIC:
        raise ValueError("it does not begin as one")
    version = reader.number("<I")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}, not 2 or 3")
    tensor_count = reader.count("tensors", _MAX_TENSORS, 32)
    value_count = reader.count("values", _MAX_VALUES, 13)
    values: dict[str, Value] = {}
    for _ in range(value_count):
        key = reader.text(_MAX_NAME)
        if key in values:
            raise ValueError("a name is there twice")
        values[key] = reader.value(reader.number("<I"))
    described: list[tuple[str, str, tuple[int, ...], int]] = [_tensor(reader) for _ in range(tensor_count)]
    if len({name for name, *_ in described}) != len(described):
        raise ValueError("a tensor is there twice")
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise ValueError(f"its alignment is {str(alignment)[:20]}, not a power of two")
    data_begins = -(-reader.position // alignment) * alignment
    stored = {
        name: _stored(name, kind, shape, data_begins + offset, alignment)
        for name, kind, shape, offset in described
    }
    _check_places(stored, size)
    return values, stored


def _tensor(reader: _Reader) -> tuple[str, str, tuple[int, ...], int]:
    """A tensor's name, type, shape and offset."""
    name = reader.text(_MAX_NAME)
    dimensions = reader.number("<I")
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"the tensor {name!r} has {dimensions} dimensions")
    sides = [reader.number("<Q") for _ in range(dimensions)]
    number = reader.number("<I")
    kind = _TYPES.get(number, f"number {number}")
    if kind not in _PLAIN and kind not in BLOCK_SIZES:
        raise ValueError(f"the tensor {name!r} is of the type {kind}, which is not read")
    return name, kind, tuple(reversed(sides)), reader.number("<Q")


def _stored(name: str, kind: str, shape: tuple[int, ...], offset: int, alignment: int) -> StoredTensor:
    elements, nbytes = BLOCK_SIZES.get(kind, (1, _PLAIN.get(kind, 0)))
    row = shape[-1] if shape else 1
    if row % elements:
        raise ValueError(f"the rows of {name!r} have {row} elements, which {kind} cannot have")
    if offset % alignment:
        raise ValueError(f"the bytes of {name!r} begin at {offset}, which is not aligned")
    return StoredTensor(kind, shape, math.prod(shape) // elements * nbytes, offset)


def _check_places(stored: Mapping[str, StoredTensor], size: int) -> None:
    """Refuse tensors that overlap or lie outside the file."""
    end = 0
    for name, tensor in sorted(stored.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if tensor.offset < end:
            raise ValueError(f"the bytes of {name!r} overlap with others")
        end = tensor.offset + tensor.nbytes
        if end > size:
            raise ValueError(f"it is cut short: {name!r} ends at {end}, the file at {size}")


def _entry(name: str, stored: StoredTensor, values: Mapping[str, Value]) -> TensorEntry:
    shape = _original_shape(values.get(_ORIGINAL_SHAPE + name), stored)
    packing = Packing("gguf", {"blocks": name}) if stored.dtype in BLOCK_SIZES else None
    return TensorEntry(stored.dtype, shape, stored.nbytes, packing)


def _original_shape(value: Value | None, stored: StoredTensor) -> tuple[int, ...]:
    if value is None:
        return stored.shape
    if not isinstance(value, Sequence) or not all(type(side) is int and side >= 0 for side in value):
        raise ValueError("an original shape is not one")
    shape = tuple(int(str(side)) for side in value)
    if math.prod(shape) != math.prod(stored.shape):
        raise ValueError(f"an original shape is {list(shape)}, but the tensor has {list(stored.shape)}")
    return shape
