"""A safetensors file whose quantized tensors are being found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from safelight.models.checkpoints.tensor_entries import Packing, StoredTensor, TensorEntry

_MAX_TEXT = 1 << 16
"""Largest JSON text in a tensor, in bytes."""
_MAX_SIDE = 1 << 40


class FileContent:
    """What is stored in a file, and the quantized tensors found in it so far.

    Args:
        file: The file, open.
        stored: Its tensors.
        metadata: Its metadata.
    """

    def __init__(
        self, file: BinaryIO, stored: Mapping[str, StoredTensor], metadata: Mapping[str, str]
    ) -> None:
        self._file = file
        self.stored = stored
        self.metadata = metadata
        self._packed: dict[str, TensorEntry] = {}
        self._folded: set[str] = set()

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object whose text is stored as a tensor of bytes.

        Raises:
            ValueError: It is too long, or no JSON.
            TypeError: It is no JSON object.
        """
        tensor = self.stored[name]
        if tensor.nbytes > _MAX_TEXT:
            raise ValueError(f"the text {name} has {tensor.nbytes} bytes")
        self._file.seek(tensor.offset)
        value = json.loads(self._file.read(tensor.nbytes))
        if not isinstance(value, dict):
            raise TypeError(f"the text {name} is no JSON object")
        return value

    def add(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        packing: Packing,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """Add a quantized tensor.

        Args:
            name: Its name.
            dtype: Its type, as in ``TensorEntry``.
            shape: Its logical shape.
            packing: How it is stored.
            ignored: Further stored tensors that belong to it and are not needed.
        """
        names = {*packing.parts.values()}
        nbytes = sum(self.stored[part].nbytes for part in names)
        self._packed[name] = TensorEntry(dtype, shape, nbytes, packing)
        self._folded |= names
        self.leave_out(*ignored)

    def leave_out(self, *names: str) -> None:
        """Leave out stored tensors that are no weights, such as marks."""
        self._folded |= {name for name in names if name in self.stored}

    def is_free(self, name: str) -> bool:
        """Whether a tensor is stored and belongs to no quantized one so far."""
        return name in self.stored and name not in self._folded

    def entries(self) -> dict[str, TensorEntry]:
        """All logical tensors, in the order of the file."""
        found = {}
        for name, tensor in self.stored.items():
            if name in self._packed:
                found[name] = self._packed[name]
            elif name not in self._folded:
                found[name] = TensorEntry(tensor.dtype, tensor.shape, tensor.nbytes)
        return found | self._packed


def check_shape(value: object) -> tuple[int, ...]:
    """A shape that a file states.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, list) or not all(type(side) is int and 0 <= side <= _MAX_SIDE for side in value):
        raise ValueError("a shape is not one")
    return tuple(value)


def elements(tensor: StoredTensor) -> int:
    """Number of stored elements."""
    return math.prod(tensor.shape)
