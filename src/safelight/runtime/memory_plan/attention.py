"""Attention in slices of the queries, for devices without a fused kernel: the matrix of scores is never whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from safelight.runtime.memory_plan.counter import rows_in_slice


class SlicedAttention(TorchFunctionMode):
    """Computes scaled dot-product attention slice by slice within the block; the results are equal within rounding."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or attention in slices in its place."""
        if func is nn.functional.scaled_dot_product_attention:
            return _attend(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    rows = rows_in_slice(query, key)
    # A causal mask depends on the place of each query.
    if rows >= query.shape[-2] or kwargs.get("is_causal") or (len(args) > 1 and args[1]):
        whole: Tensor = func(query, key, value, attn_mask, *args, **kwargs)
        return whole
    parts = []
    for start in range(0, query.shape[-2], rows):
        mask = attn_mask
        if mask is not None and mask.shape[-2] == query.shape[-2]:
            mask = mask[..., start : start + rows, :]
        parts.append(func(query[..., start : start + rows, :], key, value, mask, *args, **kwargs))
    return torch.cat(parts, dim=-2)
