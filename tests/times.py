"""Moments, for tests that write them into the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def ago(seconds: float) -> datetime:
    """The time so many seconds before now; after now where they are negative."""
    return datetime.now(UTC) - timedelta(seconds=seconds)
