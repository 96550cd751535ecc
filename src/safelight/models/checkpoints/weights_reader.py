"""Read tensors from a weights file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from safelight.errors import CheckpointInvalidError, FileMissingError


def read_tensors(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Some of a file's tensors by name; they are views of the memory-mapped file, which is read when they are used.

    Raises:
        FileMissingError: The file cannot be read.
        CheckpointInvalidError: It lacks a tensor, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise CheckpointInvalidError(f"{path} cannot be read: {error}.") from error


def to_precision(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in another data type; tensors of whole numbers stay as they are."""
    return tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor.contiguous()
