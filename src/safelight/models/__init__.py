"""Where weights come from: checkpoints, classifiers, model families and the hub."""

from __future__ import annotations

from pathlib import Path

BUNDLED = Path(__file__).parent
"""The folder with the data files of this package: the starter, its upscaler, and component configs."""
