"""Tensors of a few numbers that say how a model was trained, read without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from safelight.errors import CheckpointInvalidError, FileMissingError
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
        CheckpointInvalidError: It is not the file that the header is of.
    """
    wanted = [
        name
        for name in names
        if name in header.tensors
        and header.tensors[name].dtype in (*_FORMATS, "BF16")
        and 0 < header.tensors[name].nbytes <= 8 * MAX_NUMBERS
    ]
    if not wanted or header.format != "safetensors":
        return {}
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            places = json.loads(file.read(length))  # checked when the header was read
            found = {}
            for name in wanted:
                begin, end = places[name]["data_offsets"]
                file.seek(8 + length + begin)
                found[name] = _decode(header.tensors[name].dtype, file.read(end - begin))
            return found
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise CheckpointInvalidError(f"{path} was changed while it was read.") from error


def _decode(dtype: str, data: bytes) -> tuple[float, ...]:
    if dtype == "BF16":  # the upper half of fp32
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        dtype = "F32"
    code = _FORMATS[dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)
