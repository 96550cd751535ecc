"""A queue in which owners take turns, whatever each of them has put into it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_MOST_REMEMBERED = 1000


class FairQueue(Generic[Item]):
    """Next is whoever has the fewest being worked on, and of those whoever has had the least done for them.

    What was done is counted in seconds. Who comes anew begins with as much as the others have, so that nobody can
    save turns up (start-time fair queueing). Not thread-safe: its user holds a lock.

    Args:
        each: How many of one owner's are worked on at once, at most.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._waiting: dict[str, deque[Item]] = {}
        self._working: Counter[str] = Counter()
        self._had: dict[str, float] = {}
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def waiting(self, owner: str) -> int:
        """How many of one owner's wait."""
        return len(self._waiting.get(owner, ()))

    def put(self, owner: str, item: Item) -> None:
        """Let something of an owner's wait."""
        if owner not in self._waiting and not self._working[owner]:
            self._had[owner] = max(self._had.get(owner, 0.0), self._now)
        self._waiting.setdefault(owner, deque()).append(item)

    def first(self, barred: Callable[[str], bool] = lambda _: False) -> tuple[str, Item] | None:
        """Whose turn it is, and with what; None where nothing waits that may be worked on now.

        Args:
            barred: Whether somebody may have no more for another reason.
        """
        able = [owner for owner in self._waiting if self._working[owner] < self._each and not barred(owner)]
        if not able:
            return None
        owner = min(able, key=lambda one: (self._working[one], self._had[one]))
        return owner, self._waiting[owner][0]

    def begin(self, owner: str) -> None:
        """Take the owner's first out of the queue: it is worked on from now on."""
        items = self._waiting[owner]
        items.popleft()
        if not items:
            del self._waiting[owner]
        self._now = max(self._now, self._had[owner])
        self._working[owner] += 1

    def end(self, owner: str, seconds: float) -> None:
        """Something of an owner's is no longer worked on, and took so many seconds."""
        self._working[owner] -= 1
        if not self._working[owner]:
            del self._working[owner]
        self._had[owner] += seconds
        if len(self._had) > _MOST_REMEMBERED:
            self._forget()

    def remove(self, owner: str, item: Item) -> None:
        """Take something out that has not begun; nothing happens where it has."""
        items = self._waiting.get(owner)
        if items is None or item not in items:
            return
        items.remove(item)
        if not items:
            del self._waiting[owner]

    def clear(self) -> list[Item]:
        """Take everything out that waits."""
        found = [item for items in self._waiting.values() for item in items]
        self._waiting.clear()
        return found

    def _forget(self) -> None:
        """Drop what owners have had who are not here and have no more than a newcomer would begin with."""
        here = self._waiting.keys() | self._working.keys()
        self._had = {owner: had for owner, had in self._had.items() if owner in here or had > self._now}
