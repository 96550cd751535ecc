"""Harmless photographs for the demo, the probe and parity checks; their origins are in ``SOURCES.md`` beside them."""

from __future__ import annotations

from pathlib import Path


def sample_photographs() -> list[Path]:
    """The photographs' paths, by name."""
    return sorted(Path(__file__).parent.glob("*.jpg"))
