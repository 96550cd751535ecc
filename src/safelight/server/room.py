"""Quotas that are shared between owners: bytes in memory, and concurrent operations."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from safelight.errors import RateLimitError, ServerBusyError


class Room:
    """A budget of bytes that are held in memory. Use it on the event loop only.

    One owner may hold half of what other owners do not hold, so that some is always left for the next owner.

    Args:
        size: The budget, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: Counter[str] = Counter()
        self._waiting: deque[tuple[str, int, asyncio.Future[None]]] = deque()

    def enter(self, owner: str, amount: int) -> None:
        """Acquire bytes without waiting.

        Raises:
            ServerBusyError: Too few bytes are left for this owner.
        """
        if not self._has(owner, amount):
            raise ServerBusyError
        self._held[owner] += amount

    async def wait(self, owner: str, amount: int, seconds: float) -> None:
        """Acquire bytes, and wait for them if necessary; first come, first served.

        Raises:
            ServerBusyError: Too few bytes became available for this owner within the given seconds.
        """
        if self._has(owner, amount) and all(waiting != owner for waiting, _, _ in self._waiting):
            self._held[owner] += amount
            return
        place = owner, amount, asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait_for(asyncio.shield(place[2]), seconds)
        except TimeoutError as error:
            if not place[2].done():
                raise ServerBusyError from error
        except asyncio.CancelledError:
            if place[2].done():
                self.leave(owner, amount)
            raise
        finally:
            if place in self._waiting:
                self._waiting.remove(place)

    def leave(self, owner: str, amount: int) -> None:
        """Release bytes."""
        self._held[owner] -= amount
        if self._held[owner] <= 0:
            del self._held[owner]
        self._let_in()

    def _has(self, owner: str, amount: int) -> bool:
        others = self._held.total() - self._held[owner]
        return self._held[owner] + amount <= (self._size - others) // 2

    def _let_in(self) -> None:
        """Grant free bytes to waiting requests; of one owner, to the first."""
        passed: set[str] = set()
        for place in list(self._waiting):
            owner, amount, let_in = place
            if owner not in passed and self._has(owner, amount):
                self._waiting.remove(place)
                self._held[owner] += amount
                let_in.set_result(None)
            else:
                passed.add(owner)


class Seats:
    """Limits the concurrent operations of each owner. Use it on the event loop only.

    Args:
        what: The operations' name in error messages, such as requests.
        each: Maximum number of concurrent operations of one owner.
    """

    def __init__(self, what: str, each: int) -> None:
        self._what, self._each = what, each
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """A context that counts as one operation.

        Raises:
            RateLimitError: The owner has reached the maximum.
        """
        if self._taken[owner] >= self._each:
            raise RateLimitError(f"{self._each} {self._what} at once are the limit.", retry_after=1)
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]
