"""The LoRA that is part of the package: the starter's few steps (``training/few_steps.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safelight.models.inventory.kind_folders import weights_folders

FEW_STEPS = "starter-few-steps"
"""Its name in requests and prompts."""
_FOLDER = Path(__file__).parents[1] / "loras"


def adapter_folders(home: Path, model_folders: Sequence[Path]) -> list[Path]:
    """All folders with adapters: the data directory's, further ones, and the package's own."""
    return [*weights_folders(home, model_folders), _FOLDER]


def is_packaged(path: Path) -> bool:
    """Whether a file is the package's own, beside which nothing is written."""
    return path.is_relative_to(_FOLDER)
