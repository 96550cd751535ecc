"""Recognize quantized tensors in safetensors files, and fold their scales and the like into them.

Each module knows one program's layout, from names, types, shapes and small texts in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from safelight.errors import CheckpointInvalidError
from safelight.models.checkpoints.packings import bitsandbytes, comfyui, own, torchao
from safelight.models.checkpoints.packings.file_content import FileContent
from safelight.models.checkpoints.tensor_entries import StoredTensor, TensorEntry

_LAYOUTS = (own.find, torchao.find, bitsandbytes.find, comfyui.find)
_CODES = frozenset({"I8", "U8", "F8_E4M3", "F8_E5M2"})
"""Types in which codes are stored."""
_NAMES = (".quant_state.", ".SCB", "scaled_fp8", "comfy_quant", "scale_weight", "weight_scale")
"""Parts of the names of what is stored beside codes."""
_METADATA = (own.METADATA, "tensor_names", "_quantization_metadata")


def has_codes(tensors: Mapping[str, TensorEntry]) -> bool:
    """Whether some of a file's tensors may belong to quantized ones, by their types and names."""
    names = "\n".join(tensors)
    return not _CODES.isdisjoint(tensor.dtype for tensor in tensors.values()) or any(
        part in names for part in _NAMES
    )


def describes_codes(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata say how its tensors are quantized."""
    return any(name in metadata for name in _METADATA)


def fold(
    path: Path, file: BinaryIO, stored: Mapping[str, StoredTensor], metadata: Mapping[str, str]
) -> dict[str, TensorEntry]:
    """The logical tensors of a file.

    Args:
        path: The file, for errors.
        file: The file, open.
        stored: What is stored in it.
        metadata: Its metadata.

    Raises:
        CheckpointInvalidError: A tensor is quantized in a way that is not known, or lacks a part.
    """
    content = FileContent(file, stored, metadata)
    try:
        for find in _LAYOUTS:
            find(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointInvalidError(f"{path} has weights that cannot be used: {error}.") from error
    return content.entries()
