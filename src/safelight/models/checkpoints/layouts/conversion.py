"""Conversions of tensors' names that need torch or diffusers; loaded only when weights are."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.loaders import single_file_utils

from safelight.models.checkpoints.layouts.layout import Config, Tensors


def convert_with(function: str, tensors: Tensors, config: Config | None = None) -> Tensors:
    """Convert tensors with one of diffusers' functions, by its name; the mapping is copied, since some empty it."""
    convert = getattr(single_file_utils, function)
    return dict(convert(checkpoint=dict(tensors), config=config or {}))


def stand_in(tensor: Any, rows: int) -> torch.Tensor:
    """A tensor without data that has another number of rows."""
    return torch.empty(rows, *tensor.shape[1:], device="meta")


def identity_like(tensor: Any, side: int) -> torch.Tensor:
    """The identity matrix, without data where the tensor has none."""
    return torch.eye(side, dtype=tensor.dtype, device=tensor.device)
