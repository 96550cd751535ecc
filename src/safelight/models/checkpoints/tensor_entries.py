"""What the header of a weights file says of its tensors, whatever the file's format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

from safelight.runtime.quantization.block_sizes import BLOCK_SIZES

Result = TypeVar("Result")

PRECISIONS = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8",
    "F8_E5M2": "fp8",
    "INT8": "int8",
    "INT4": "int4",
    "NF4": "nf4",
    "FP4": "fp4",
    **{name: name.lower() for name in BLOCK_SIZES},
}
"""Common names of the types of weights: of floating-point numbers, and of what is quantized."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How a quantized tensor is stored.

    Args:
        layout: The layout, a key of ``weights_reader.LAYOUTS``.
        parts: The names of the stored tensors by their role.
        options: What the layout needs beside them: the size of groups, for example.
    """

    layout: str
    parts: Mapping[str, str]
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor that has another name or other values than in its file comes from.

    Args:
        name: Its name in the file.
        change: What was done to its values, and is undone when it is read: "", "plus one" (1 was added), or "rotary"
            (the halves of each attention head were interleaved).
        heads: The number of attention heads, for "rotary".
    """

    name: str
    change: str = ""
    heads: int = 0


class TensorEntry(NamedTuple):
    """A tensor.

    Args:
        dtype: The data type by its name in safetensors or GGUF files, F16, F32, Q4_K …; NF4, FP4, INT8 or INT4 for
            other quantized tensors.
        shape: The logical shape.
        nbytes: Its bytes in the file, with those of its scales.
        packing: How it is stored if it is quantized, else None.
        origin: Where it comes from if it is stored under another name, else None.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    packing: Packing | None = None
    origin: Origin | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def loaded_nbytes(self, itemsize: int, *, packed: bool = True) -> int:
        """Its bytes in memory, where floating-point numbers have ``itemsize`` bytes, unless packed ones stay so."""
        if self.packing is not None and packed:
            return self.nbytes
        return self.elements * itemsize if self.dtype in PRECISIONS else 0


class StoredTensor(NamedTuple):
    """A tensor as it is stored in a file.

    Args:
        dtype: The data type by its name in the file's format.
        shape: The shape.
        nbytes: Its bytes.
        offset: Where its bytes begin in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    offset: int


@dataclass(frozen=True)
class Header:
    """A weights file's header.

    Args:
        tensors: The tensors by name; scales and the like belong to the tensors that they scale.
        metadata: Free text by name.
        format: The file's format: safetensors or gguf.
        stored: The tensors that are stored, by name, scales and the like among them; empty for a safetensors file
            without quantized tensors, where they are the same as ``tensors``.
        derived: What ``derive`` has found; headers that list the same tensors share it.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    format: str = "safetensors"
    stored: Mapping[str, StoredTensor] = field(default_factory=dict)
    derived: dict[Callable[..., object], Any] = field(default_factory=dict, repr=False, compare=False)

    def derive(self, function: Callable[[Mapping[str, TensorEntry]], Result]) -> Result:
        """The result of a function of the tensors alone, computed once for all headers that list the same tensors."""
        if function not in self.derived:
            self.derived[function] = function(self.tensors)
        return cast("Result", self.derived[function])
