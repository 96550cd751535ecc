"""The ControlNet that is part of the package: the starter's, for edges (``training/control.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safelight.models.inventory.kind_folders import weights_folders

STARTER_CANNY = "starter-canny"
"""Its name in requests."""
FAMILY = "sd1-starter"
"""What it is for: it has the starter's size, not Stable Diffusion's."""
_FOLDER = Path(__file__).parents[1] / "controlnet"


def control_folders(home: Path, model_folders: Sequence[Path]) -> list[Path]:
    """All folders with control networks: the data directory's, further ones, and the package's own."""
    return [*weights_folders(home, model_folders), _FOLDER]


def is_packaged(path: Path) -> bool:
    """Whether a network is the package's own."""
    return path.is_relative_to(_FOLDER)
