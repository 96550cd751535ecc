"""Usage of keys that is not in the database yet, because it waits for the next write or the disk is full.

It is kept in memory and written with the next write that succeeds, so that no request is refused because of it. One
process answers all requests, so that its memory and the database together have the complete usage.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class Usage:
    """Usage of keys.

    Args:
        last_used: Time of the last use by key id.
        pictures: Number of pictures by key id and day.
        pixels: Number of pixels by key id and day.
    """

    last_used: dict[str, datetime] = field(default_factory=dict)
    pictures: Counter[tuple[str, int]] = field(default_factory=Counter)
    pixels: Counter[tuple[str, int]] = field(default_factory=Counter)


class PendingUsage:
    """Holds usage until it can be written. Thread-safe."""

    def __init__(self) -> None:
        self._usage = Usage()
        self.lock = threading.RLock()
        """Hold it to compare usage with a limit and add to it in one step."""

    def record_use(self, key_id: str, at: datetime) -> None:
        """Record the use of a key."""
        with self.lock:
            self._usage.last_used[key_id] = at

    def last_use(self, key_id: str) -> datetime | None:
        """The last use of a key, if it is not in the database."""
        with self.lock:
            return self._usage.last_used.get(key_id)

    def add(self, key_id: str, day: int, pictures: int, pixels: int) -> None:
        """Add pictures and pixels to a key's usage."""
        with self.lock:
            self._usage.pictures[key_id, day] += pictures
            self._usage.pixels[key_id, day] += pixels

    def spent(self, key_id: str, day: int) -> tuple[int, int]:
        """A key's pictures and pixels that are not in the database."""
        with self.lock:
            return self._usage.pictures[key_id, day], self._usage.pixels[key_id, day]

    def drain(self) -> Usage:
        """Remove and return all usage, to be written."""
        with self.lock:
            taken, self._usage = self._usage, Usage()
            return taken

    def restore(self, usage: Usage) -> None:
        """Put usage back that could not be written."""
        with self.lock:
            self._usage.last_used = {**usage.last_used, **self._usage.last_used}
            self._usage.pictures.update(usage.pictures)
            self._usage.pixels.update(usage.pixels)
