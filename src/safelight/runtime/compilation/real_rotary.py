"""Rotary position embeddings of Z-Image in real arithmetic while a network is traced.

The network multiplies complex numbers, which engines' graphs do not have. Within the context its tables of positions
are pairs of real numbers, and a product of complex numbers is computed from their parts; results are the same but for
the last bits. Sequences are padded by operations that the graphs have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.transformers.transformer_z_image import RopeEmbedder
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def real_rotary() -> Iterator[None]:
    """Compute rotary embeddings with real numbers within the block; in a process that does nothing else meanwhile."""
    original = RopeEmbedder.__call__
    RopeEmbedder.__call__ = _real_positions
    try:
        with _RealProducts():
            yield
    finally:
        RopeEmbedder.__call__ = original


class _RealProducts(TorchFunctionMode):
    """Products of complex numbers, as tensors (..., 2) of their real and imaginary parts."""

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or what takes its place for complex numbers."""
        if func is torch.view_as_complex:
            self._pairs.append(args[0])
            return args[0]
        if func in (Tensor.__mul__, Tensor.mul, torch.mul) and self._is_pair(args[0]):
            product = _complex_product(args[0], args[1])
            self._pairs.append(product)
            return product
        if func is torch.view_as_real and self._is_pair(args[0]):
            return args[0]
        if func is torch._C._nn.pad_sequence:
            return _pad_sequence(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _is_pair(self, value: object) -> bool:
        return any(value is pair for pair in self._pairs)


def _complex_product(left: Tensor, right: Tensor) -> Tensor:
    a, b, c, d = left[..., 0], left[..., 1], right[..., 0], right[..., 1]
    return torch.stack((a * c - b * d, a * d + b * c), dim=-1)


def _pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool, padding_value: float, padding_side: str = "right"
) -> Tensor:
    """As ``torch.nn.utils.rnn.pad_sequence`` with the batch first and padding at the right."""
    assert batch_first
    assert padding_side == "right"
    longest = max(int(sequence.shape[0]) for sequence in sequences)
    padded = []
    for sequence in sequences:
        missing = longest - int(sequence.shape[0])
        if missing:
            shape = (missing, *map(int, sequence.shape[1:]))
            filling = torch.full(shape, padding_value, dtype=sequence.dtype, device=sequence.device)
            sequence = torch.cat((sequence, filling))  # noqa: PLW2901
        padded.append(sequence)
    return torch.stack(padded)


def _real_positions(embedder: Any, ids: Tensor) -> Tensor:
    """What ``RopeEmbedder.__call__`` returns, as pairs: (positions, width, 2)."""
    tables = getattr(embedder, "real_tables", None)
    if tables is None:
        complex_tables = embedder.precompute_freqs_cis(
            embedder.axes_dims, embedder.axes_lens, theta=embedder.theta
        )
        tables = [torch.stack((table.real, table.imag), dim=-1) for table in complex_tables]
        embedder.real_tables = tables
    return torch.cat([table[ids[:, axis]] for axis, table in enumerate(tables)], dim=-2)
