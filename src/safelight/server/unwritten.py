"""What is known of the use of keys and is not written down yet: it waits for its turn, or the disk is full.

It is kept in memory and written with whatever can be written next, so that nobody is refused because of it. One process
answers all requests, so what it remembers and what the database has are together the whole.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class Uses:
    """Notes of the use of keys.

    Args:
        seen: When keys were used last, by id.
        pictures: How many were asked for, by key and day.
        pixels: Likewise.
    """

    seen: dict[str, datetime] = field(default_factory=dict)
    pictures: Counter[tuple[str, int]] = field(default_factory=Counter)
    pixels: Counter[tuple[str, int]] = field(default_factory=Counter)


class Unwritten:
    """Holds notes until they can be written. Threads may share it."""

    def __init__(self) -> None:
        self._uses = Uses()
        self.lock = threading.RLock()
        """For whoever compares what is here with a limit and then adds to it."""

    def note_seen(self, key_id: str, at: datetime) -> None:
        """A key was used."""
        with self.lock:
            self._uses.seen[key_id] = at

    def seen(self, key_id: str) -> datetime | None:
        """When a key was used last, where that is not written down."""
        with self.lock:
            return self._uses.seen.get(key_id)

    def add(self, key_id: str, day: int, pictures: int, pixels: int) -> None:
        """A key has asked for pictures."""
        with self.lock:
            self._uses.pictures[key_id, day] += pictures
            self._uses.pixels[key_id, day] += pixels

    def spent(self, key_id: str, day: int) -> tuple[int, int]:
        """Pictures and pixels that a key has asked for, as far as that is not written down."""
        with self.lock:
            return self._uses.pictures[key_id, day], self._uses.pixels[key_id, day]

    def take(self) -> Uses:
        """All notes, to be written; they are here no more."""
        with self.lock:
            taken, self._uses = self._uses, Uses()
            return taken

    def put_back(self, uses: Uses) -> None:
        """What was taken could not be written."""
        with self.lock:
            self._uses.seen = {**uses.seen, **self._uses.seen}
            self._uses.pictures.update(uses.pictures)
            self._uses.pixels.update(uses.pixels)
