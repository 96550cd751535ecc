"""A fair queue (start-time fair queueing): owners take turns, however many items each of them has queued."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_MAX_REMEMBERED = 1000


class FairQueue(Generic[Item]):
    """The next item is of the owner with the fewest running items, and among those, with the least service so far.

    Service is counted in seconds. An owner who returns starts at the current virtual time, so that nobody can save up
    turns. Not thread-safe: the caller holds a lock.

    Args:
        per_owner: Maximum number of running items of one owner.
    """

    def __init__(self, per_owner: int) -> None:
        self._per_owner = per_owner
        self._waiting: dict[str, deque[Item]] = {}
        self._running: Counter[str] = Counter()
        self._served: dict[str, float] = {}
        self._virtual_time = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def waiting(self, owner: str) -> int:
        """How many items of an owner wait."""
        return len(self._waiting.get(owner, ()))

    def put(self, owner: str, item: Item) -> None:
        """Queue an item of an owner."""
        if owner not in self._waiting and not self._running[owner]:
            self._served[owner] = max(self._served.get(owner, 0.0), self._virtual_time)
        self._waiting.setdefault(owner, deque()).append(item)

    def next_eligible(self, excluded: Callable[[str], bool] = lambda _: False) -> tuple[str, Item] | None:
        """The next owner and their first item; None if no waiting item may start now.

        Args:
            excluded: Whether an owner may start nothing more, for another reason.
        """
        eligible = [
            owner for owner in self._waiting if self._running[owner] < self._per_owner and not excluded(owner)
        ]
        if not eligible:
            return None
        owner = min(eligible, key=lambda one: (self._running[one], self._served[one]))
        return owner, self._waiting[owner][0]

    def start(self, owner: str) -> None:
        """Remove the owner's first item from the queue and count it as running."""
        items = self._waiting[owner]
        items.popleft()
        if not items:
            del self._waiting[owner]
        self._virtual_time = max(self._virtual_time, self._served[owner])
        self._running[owner] += 1

    def finish(self, owner: str, seconds: float) -> None:
        """Count a running item of an owner as finished, after so many seconds."""
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._served[owner] += seconds
        if len(self._served) > _MAX_REMEMBERED:
            self._drop_idle_owners()

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

    def _drop_idle_owners(self) -> None:
        """Forget owners who have no items and no more service than a new owner would start with."""
        present = self._waiting.keys() | self._running.keys()
        self._served = {
            owner: had for owner, had in self._served.items() if owner in present or had > self._virtual_time
        }
