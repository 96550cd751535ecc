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
class Uses:
    """Usage of keys.

    Args:
        seen: Time of the last use by key id.
        pictures: Number of pictures by key id and day.
        pixels: Number of pixels by key id and day.
    """

    seen: dict[str, datetime] = field(default_factory=dict)
    pictures: Counter[tuple[str, int]] = field(default_factory=Counter)
    pixels: Counter[tuple[str, int]] = field(default_factory=Counter)


class Unwritten:
    """Holds usage until it can be written. Thread-safe."""

    def __init__(self) -> None:
        self._uses = Uses()
        self.lock = threading.RLock()
        """Hold it to compare usage with a limit and add to it in one step."""

    def note_seen(self, key_id: str, at: datetime) -> None:
        """Record the use of a key."""
        with self.lock:
            self._uses.seen[key_id] = at

    def seen(self, key_id: str) -> datetime | None:
        """The last use of a key, if it is not in the database."""
        with self.lock:
            return self._uses.seen.get(key_id)

    def add(self, key_id: str, day: int, pictures: int, pixels: int) -> None:
        """Add pictures and pixels to a key's usage."""
        with self.lock:
            self._uses.pictures[key_id, day] += pictures
            self._uses.pixels[key_id, day] += pixels

    def spent(self, key_id: str, day: int) -> tuple[int, int]:
        """A key's pictures and pixels that are not in the database."""
        with self.lock:
            return self._uses.pictures[key_id, day], self._uses.pixels[key_id, day]

    def take(self) -> Uses:
        """Remove and return all usage, to be written."""
        with self.lock:
            taken, self._uses = self._uses, Uses()
            return taken

    def put_back(self, uses: Uses) -> None:
        """Put usage back that could not be written."""
        with self.lock:
            self._uses.seen = {**uses.seen, **self._uses.seen}
            self._uses.pictures.update(uses.pictures)
            self._uses.pixels.update(uses.pixels)
