"""Tiny checkpoints, each built once per session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import build_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint by name; to be read, never changed."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else build_tiny(name, root / name)

    return folder


@pytest.fixture
def sd1(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny Stable Diffusion 1 that a test may damage."""
    return Path(shutil.copytree(tiny("sd1"), tmp_path / "sd1"))
