"""A fair queue (start-time fair queueing): owners take turns, however many items each of them has queued."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_MOST_REMEMBERED = 1000


class FairQueue(Generic[Item]):
    """The next item is of the owner with the fewest running items, and among those, with the least service so far.

    Service is counted in seconds. An owner who returns starts at the current virtual time, so that nobody can save up
    turns. Not thread-safe: the caller holds a lock.

    Args:
        each: Maximum number of running items of one owner.
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
        """How many items of an owner wait."""
        return len(self._waiting.get(owner, ()))

    def put(self, owner: str, item: Item) -> None:
        """Queue an item of an owner."""
        if owner not in self._waiting and not self._working[owner]:
            self._had[owner] = max(self._had.get(owner, 0.0), self._now)
        self._waiting.setdefault(owner, deque()).append(item)

    def first(self, barred: Callable[[str], bool] = lambda _: False) -> tuple[str, Item] | None:
        """The next owner and their first item; None if no waiting item may start now.

        Args:
            barred: Whether an owner may start nothing more, for another reason.
        """
        able = [owner for owner in self._waiting if self._working[owner] < self._each and not barred(owner)]
        if not able:
            return None
        owner = min(able, key=lambda one: (self._working[one], self._had[one]))
        return owner, self._waiting[owner][0]

    def begin(self, owner: str) -> None:
        """Remove the owner's first item from the queue and count it as running."""
        items = self._waiting[owner]
        items.popleft()
        if not items:
            del self._waiting[owner]
        self._now = max(self._now, self._had[owner])
        self._working[owner] += 1

    def end(self, owner: str, seconds: float) -> None:
        """Count a running item of an owner as finished, after so many seconds."""
        self._working[owner] -= 1
        if not self._working[owner]:
            del self._working[owner]
        self._had[owner] += seconds
        if len(self._had) > _MOST_REMEMBERED:
            self._forget()

    def remove(self, owner: str, item: Item) -> None:
        """Remove an item that has not started; does nothing if it has."""
        items = self._waiting.get(owner)
        if items is None or item not in items:
            return
        items.remove(item)
        if not items:
            del self._waiting[owner]

    def clear(self) -> list[Item]:
        """Remove and return all waiting items."""
        found = [item for items in self._waiting.values() for item in items]
        self._waiting.clear()
        return found

    def _forget(self) -> None:
        """Forget owners who have no items and no more service than a new owner would start with."""
        here = self._waiting.keys() | self._working.keys()
        self._had = {owner: had for owner, had in self._had.items() if owner in here or had > self._now}
