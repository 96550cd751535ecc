"""Calls of a component: which can be computed as one, how they are joined, and how the result is split.

The number of rows of a call is that of its first argument: two for a picture with classifier-free guidance, else one.
Tensors and lists with as many rows belong to the batch and are joined; all other arguments have to be equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from safelight.runtime.component import Component, ComponentKey, Patch
from safelight.runtime.patching import check_patchable, patched

SHARED = frozenset(
    {"img_ids", "txt_ids", "image_rotary_emb", "position_ids", "text_rope_pos", "visual_rope_pos"}
)
"""Arguments that hold positions, not rows, whatever their length."""
ROWS_SECOND = frozenset({"encoder_hidden_states_llama3"})
"""Arguments whose second axis holds the rows: the first holds the text encoder's layers."""

TIMESTEP = "timestep"
_REDUCED_PRECISION = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a component.

    Args:
        component: The component.
        args: Positional arguments.
        kwargs: Keyword arguments.
        patches: Changes of the network that are in effect while this call is computed, in order.
    """

    component: Component
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    patches: tuple[Patch, ...] = ()

    @cached_property
    def key(self) -> ComponentKey:
        """What identifies the network that computes the call, patches included."""
        return self.component.key.patched(self.patches)

    @cached_property
    def arguments(self) -> dict[str, object]:
        """All arguments by the names of the network's parameters."""
        return dict(zip(self.component.parameters, self.args, strict=False)) | dict(self.kwargs)

    @cached_property
    def rows(self) -> int:
        """The number of rows of its batch."""
        first: Any = next(iter(self.arguments.values()))
        return len(first)

    def can_join(self, other: Call) -> bool:
        """Whether both can be computed as one: equal keys, and shapes that differ at most in their rows."""
        return self.component.joins and self.key == other.key and self._pattern == other._pattern

    def compute(self) -> object:
        """The network's result; the patches are applied before it is computed, and undone after it.

        Raises:
            BackendError: There are patches, and the component's backend cannot patch networks.
        """
        if self.patches:
            check_patchable(self.component)
        with patched(network := self.component.network, self.patches):
            return network(*self.args, **self.kwargs)

    @cached_property
    def _pattern(self) -> object:
        return _pattern("", self.arguments, self.rows)


def compute_calls(calls: Sequence[Call]) -> list[object]:
    """The results of calls that can be computed as one, from one call of the network.

    A single call is computed unchanged, so that its result is the same, bit for bit, as without batching.
    """
    if len(calls) == 1:
        return [calls[0].compute()]
    rows = [call.rows for call in calls]
    return _split_result(join_calls(calls).compute(), rows)


def join_calls(calls: Sequence[Call]) -> Call:
    """One call with the rows of all calls, in order."""
    arguments: Any = _join_values("", [call.arguments for call in calls], [call.rows for call in calls])
    return Call(calls[0].component, (), arguments, calls[0].patches)


@dataclass(frozen=True, eq=False)
class _TensorValue:
    """A tensor that is compared by value."""

    tensor: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _TensorValue):
            return NotImplemented
        mine, theirs = self.tensor, other.tensor
        same_layout = (mine.dtype, mine.device, mine.shape) == (theirs.dtype, theirs.device, theirs.shape)
        return same_layout and torch.equal(mine, theirs)

    __hash__ = None  # type: ignore[assignment]


def _pattern(name: str, value: Any, rows: int) -> object:
    """What has to be equal in two calls for their arguments to be joined."""
    if isinstance(value, dict):
        return {key: _pattern(key, inner, rows) for key, inner in value.items()}
    if isinstance(value, Tensor):
        return _tensor_pattern(name, value, rows)
    if _is_list_of_rows(value, rows):
        return [_row_pattern(item) for item in value[:1]]
    if isinstance(value, list | tuple):
        return [_pattern(name, inner, rows) for inner in value]
    return type(value), value


def _row_pattern(row: Any) -> object:
    """What has to be equal in two lists of rows: the network handles them one by one, so their lengths may differ."""
    if isinstance(row, Tensor):
        return row.dtype, row.shape[1:]
    return [_row_pattern(part) for part in row] if isinstance(row, list) else row


def _tensor_pattern(name: str, value: Tensor, rows: int) -> object:
    if name in ROWS_SECOND:
        return value.device, value.dtype, value.shape[0], value.shape[2:]
    if _is_timestep(name, value, rows):
        # Samplers use integers or floats; networks convert both to floats.
        return value.device, value.dtype if value.dtype in _REDUCED_PRECISION else None
    if _is_batched(name, value, rows):
        return value.device, value.dtype, value.shape[1:]
    return _TensorValue(value)


def _join_values(name: str, values: Sequence[Any], rows: Sequence[int]) -> object:
    first = values[0]
    if isinstance(first, dict):
        return {key: _join_values(key, [value[key] for value in values], rows) for key in first}
    if isinstance(first, Tensor):
        return _join_tensors(name, values, rows)
    if _is_list_of_rows(first, rows[0]):
        return [item for value in values for item in value]
    if isinstance(first, list | tuple):
        return type(first)(_join_values(name, inner, rows) for inner in zip(*values, strict=True))
    return first


def _join_tensors(name: str, values: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
    if _is_timestep(name, values[0], rows[0]):
        return torch.cat([value.expand(count) for value, count in zip(values, rows, strict=True)])
    if name in ROWS_SECOND:
        return torch.cat(list(values), dim=1)
    return torch.cat(list(values)) if _is_batched(name, values[0], rows[0]) else values[0]


def _is_timestep(name: str, value: Tensor, rows: int) -> bool:
    return name == TIMESTEP and value.ndim <= 1 and value.numel() in (1, rows)


def _is_batched(name: str, value: Tensor, rows: int) -> bool:
    return name not in SHARED and value.ndim > 0 and len(value) == rows


def _is_list_of_rows(value: object, rows: int) -> bool:
    """Whether this is a list with one item per row, and not a list of tensors with all rows each."""
    return (
        isinstance(value, list)
        and len(value) == rows
        and not all(isinstance(item, Tensor) and item.ndim > 1 and len(item) == rows for item in value)
    )


def _split_result(answer: Any, rows: Sequence[int]) -> list[object]:
    if isinstance(answer, dict):  # as diffusers' outputs are
        parts = zip(*(_split_result(part, rows) for part in answer.values()), strict=True)
        return [type(answer)(**dict(zip(answer, each, strict=True))) for each in parts]
    if isinstance(answer, tuple):
        return [tuple(parts) for parts in zip(*(_split_result(part, rows) for part in answer), strict=True)]
    if isinstance(answer, Tensor):
        return list(answer.split(list(rows)))
    row_ends = [sum(rows[: number + 1]) for number in range(len(rows))]
    return [answer[end - count : end] for end, count in zip(row_ends, rows, strict=True)]
