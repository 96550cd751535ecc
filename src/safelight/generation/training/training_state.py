"""The state of an interrupted training, in a safetensors file, which cannot run code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from safelight.atomic_write import atomic_write
from safelight.errors import TrainingStateError


@dataclass(frozen=True)
class TrainingState:
    """A LoRA in training.

    Args:
        step: Steps done.
        tensors: Factors and the optimiser's two moments of each, by name.
    """

    step: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def load(cls, path: Path, identity: str) -> Self | None:
        """Read a state; None where there is no file.

        Raises:
            TrainingStateError: It is of a training with another identity, or damaged.
        """
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                found = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            step = int(found.get("step", -1))
        except (SafetensorError, OSError, ValueError) as error:
            raise TrainingStateError(f"{path} is damaged.") from error
        if found.get("identity") != identity:
            raise TrainingStateError(
                f"{path} is the state of a training with other pictures, options or another checkpoint."
            )
        return cls(step, tensors)

    @staticmethod
    def save(
        path: Path,
        identity: str,
        step: int,
        names: Sequence[str],
        factors: Sequence[Tensor],
        optimiser: torch.optim.AdamW,
    ) -> None:
        """Write the state after a step.

        Raises:
            OutputError: It cannot be written.
        """
        tensors = {}
        for name, factor in zip(names, factors, strict=True):
            moments = optimiser.state[factor]
            tensors[name] = factor.detach().contiguous()
            tensors[f"{name}.first"] = moments["exp_avg"].contiguous()
            tensors[f"{name}.second"] = moments["exp_avg_sq"].contiguous()
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, {"identity": identity, "step": str(step)})

    def restore(self, names: Sequence[str], factors: Sequence[Tensor], optimiser: torch.optim.AdamW) -> None:
        """Put the state into the factors and their optimiser.

        Raises:
            TrainingStateError: A tensor is missing or has another shape.
        """
        for name, factor in zip(names, factors, strict=True):
            parts = [self.tensors.get(f"{name}{end}") for end in ("", ".first", ".second")]
            if any(part is None or part.shape != factor.shape for part in parts):
                raise TrainingStateError("The state of the training is damaged.")
            value, first, second = (part for part in parts if part is not None)
            with torch.no_grad():
                factor.copy_(value)
            optimiser.state[factor] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": first.clone(),
                "exp_avg_sq": second.clone(),
            }
