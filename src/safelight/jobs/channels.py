"""What processes notify each other of; see ``database/notifications.py``."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A kind of change."""

    JOBS = "jobs"
    """A job waits that did not before."""
    COMMANDS = "commands"
    """A running job got a signal, or workers are to load or unload a checkpoint."""
    EVENTS = "events"
    """A job has a new event."""
