"""A call of the denoiser as modifiers see it: arguments by name, the meaning of each row, and the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from safelight.generation.prompts.encode import Conditioning
from safelight.runtime.calls import ROWS_SECOND, SHARED
from safelight.runtime.component import Patch


class Role(Enum):
    """What a row of a call is conditioned on."""

    NEGATIVE = "negative prompt"
    POSITIVE = "prompt"


@dataclass(frozen=True, eq=False)
class DenoiserCall:
    """A call of the denoiser. It is not changed: the methods return a changed copy.

    Args:
        arguments: The network's arguments by name; the first are the latents, with one row per role.
        roles: What each row is conditioned on. In the families with batched guidance a guided call has the rows of
            both prompts; in those with separate guidance there is one call for each prompt.
        step: The current step, from 0.
        steps: Steps of this pass.
        patches: The patches of the network that are in effect while the call is computed.
        on_outputs: Called with all outputs of the network when the call was computed. The first is the prediction;
            patches may add others, such as features for a step cache.
        group: Its number among the calls that a modifier made of one, with other prompts.
    """

    arguments: Mapping[str, object]
    roles: tuple[Role, ...]
    step: int
    steps: int
    patches: tuple[Patch, ...] = ()
    on_outputs: Callable[[tuple[Any, ...]], None] | None = None
    group: int = 0

    @property
    def fraction(self) -> float:
        """The fraction of the pass's steps that are done, from 0 up to but not including 1."""
        return self.step / self.steps

    @property
    def latents(self) -> Tensor:
        """The scaled latents, (rows, ...)."""
        return as_tensor(next(iter(self.arguments.values())))

    @property
    def timestep(self) -> Tensor:
        """The timestep as the network gets it: one for all rows, or one for each."""
        name = "timestep" if "timestep" in self.arguments else "timesteps"  # HiDream's
        value = self.arguments[name]
        return value if isinstance(value, Tensor) else torch.tensor(value)

    @property
    def is_pair(self) -> bool:
        """Whether it has two rows: the negative prompt's, then the prompt's."""
        return self.roles == (Role.NEGATIVE, Role.POSITIVE)

    def take(self, rows: slice | Sequence[int]) -> DenoiserCall:
        """The call with some of its rows, in the given order; a row may occur several times."""
        count = len(self.roles)
        chosen = list(range(count)[rows]) if isinstance(rows, slice) else list(rows)
        arguments = {name: _take(name, value, rows, count) for name, value in self.arguments.items()}
        return replace(self, arguments=arguments, roles=tuple(self.roles[row] for row in chosen))

    def add(self, **arguments: object) -> DenoiserCall:
        """The call with more arguments, or with other values for those that it has."""
        return replace(self, arguments={**self.arguments, **arguments})

    def patch(self, *patches: Patch) -> DenoiserCall:
        """The call with more patches of the network."""
        return replace(self, patches=(*self.patches, *patches))

    def condition(self, conditionings: Sequence[Conditioning]) -> DenoiserCall:
        """The call with other text embeddings, for families with CLIP text encoders.

        Args:
            conditionings: One for each row.
        """
        dtype = self.latents.dtype  # text encoders may compute in another precision
        changed: dict[str, object] = {
            "encoder_hidden_states": torch.cat([part.embeddings for part in conditionings]).to(dtype)
        }
        added = self.arguments.get("added_cond_kwargs")
        pooled = [part.pooled for part in conditionings if part.pooled is not None]
        if isinstance(added, dict) and "text_embeds" in added and pooled:
            changed["added_cond_kwargs"] = added | {"text_embeds": torch.cat(pooled).to(dtype)}
        return self.add(**changed)


def as_tensor(rows: Any) -> Tensor:
    """Rows as one tensor; some networks take and return them as a list.

    A row may be a list of pictures: those that the network looks at, and then the one that it generates.
    """
    if isinstance(rows, list):
        return torch.stack([row[-1] if isinstance(row, list) else row for row in rows])
    tensor: Tensor = rows
    return tensor


def _take(name: str, value: Any, rows: slice | Sequence[int], count: int) -> object:
    """Take rows of an argument; what does not belong to the rows is returned unchanged."""
    if isinstance(value, dict):
        return {key: _take(key, inner, rows, count) for key, inner in value.items()}
    if isinstance(value, Tensor):
        if name in ROWS_SECOND:
            return value[:, rows]
        is_batched = name not in SHARED and value.ndim > 0 and len(value) == count
        return value[rows] if is_batched else value
    if isinstance(value, list | tuple) and all(isinstance(item, Tensor) for item in value):
        if name not in SHARED and all(item.ndim > 0 and len(item) == count for item in value):
            return type(value)(_take(name, item, rows, count) for item in value)  # one tensor for each block
        if isinstance(value, list) and len(value) == count:  # one tensor for each row
            return _items(value, rows)
    elif isinstance(value, list) and len(value) == count and all(map(_is_nested_row, value)):
        return _items(value, rows)
    return value


def _items(values: list[Any], rows: slice | Sequence[int]) -> list[Any]:
    return values[rows] if isinstance(rows, slice) else [values[row] for row in rows]


def _is_nested_row(item: object) -> bool:
    """Whether an item of a list may be a row: one of several parts, or None for one of no parts."""
    return item is None or isinstance(item, list)
