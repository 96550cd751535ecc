"""Tensors of a few numbers that say how a model was trained, read without torch."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from safelight.errors import FileMissingError
from safelight.models.checkpoints.tensor_entries import Header

MAX_NUMBERS = 256
_FORMATS = {"F64": "d", "F32": "f", "F16": "e"}


def read_numbers(path: Path, header: Header, names: Iterable[str]) -> Mapping[str, tuple[float, ...]]:
    """The numbers of small tensors that a safetensors file has, by name; others are left out.

    Args:
        path: The file.
        header: Its header.
        names: Names of tensors.

    Raises:
        FileMissingError: It cannot be read.
    """
    found = {}
    try:
        with path.open("rb") as file:
            for name in names:
                stored = header.stored.get(name)
                if stored is None or stored.dtype not in (*_FORMATS, "BF16"):
                    continue
                if not 0 < stored.nbytes <= 8 * MAX_NUMBERS:
                    continue
                file.seek(stored.offset)
                found[name] = _decode(stored.dtype, file.read(stored.nbytes))
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    return found


def _decode(dtype: str, data: bytes) -> tuple[float, ...]:
    if dtype == "BF16":  # the upper half of fp32
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        dtype = "F32"
    code = _FORMATS[dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)
