"""Channels of the notifications between processes; see ``database/notifications.py``."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A kind of change."""

    JOBS = "jobs"
    """A job has been queued."""
    COMMANDS = "commands"
    """A running job got a signal, or workers should load or unload a checkpoint."""
    EVENTS = "events"
    """A job has a new event."""
