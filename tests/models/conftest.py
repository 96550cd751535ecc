"""Tiny checkpoints that tests may damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def sd1(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny Stable Diffusion 1 that a test may damage."""
    return Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
