"""Points in time, for tests that write them into the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def seconds_ago(seconds: float) -> datetime:
    """The time so many seconds ago; in the future where they are negative."""
    return datetime.now(UTC) - timedelta(seconds=seconds)
