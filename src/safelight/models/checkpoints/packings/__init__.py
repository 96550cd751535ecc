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
