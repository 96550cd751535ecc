"""Quotas that are shared between owners: bytes in memory, and concurrent operations."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from safelight.errors import RateLimitError, ServerBusyError


class ByteQuota:
    """A budget of bytes that are held in memory. Use it on the event loop only.

    One owner may hold half of what other owners do not hold, so that some is always left for the next owner.

    Args:
        size: The budget, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: Counter[str] = Counter()
        self._waiting: deque[tuple[str, int, asyncio.Future[None]]] = deque()

    def acquire_nowait(self, owner: str, amount: int) -> None:
        """Acquire bytes without waiting.

        Raises:
            ServerBusyError: Too few bytes are left for this owner.
        """
        if not self._fits(owner, amount):
            raise ServerBusyError
        self._held[owner] += amount

    async def acquire(self, owner: str, amount: int, seconds: float) -> None:
        """Acquire bytes, and wait for them if necessary; first come, first served.

        Raises:
            ServerBusyError: Too few bytes became available for this owner within the given seconds.
        """
        if self._fits(owner, amount) and all(waiting != owner for waiting, _, _ in self._waiting):
            self._held[owner] += amount
            return
        waiter = owner, amount, asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait_for(asyncio.shield(waiter[2]), seconds)
        except TimeoutError as error:
            if not waiter[2].done():
                raise ServerBusyError from error
        except asyncio.CancelledError:
            if waiter[2].done():
                self.release(owner, amount)
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def release(self, owner: str, amount: int) -> None:
        """Release bytes."""
        self._held[owner] -= amount
        if self._held[owner] <= 0:
            del self._held[owner]
        self._wake_waiters()

    def _fits(self, owner: str, amount: int) -> bool:
        others = self._held.total() - self._held[owner]
        return self._held[owner] + amount <= (self._size - others) // 2

    def _wake_waiters(self) -> None:
        """Grant free bytes to waiting requests; of one owner, to the first."""
        blocked_owners: set[str] = set()
        for waiter in list(self._waiting):
            owner, amount, granted = waiter
            if owner not in blocked_owners and self._fits(owner, amount):
                self._waiting.remove(waiter)
                self._held[owner] += amount
                granted.set_result(None)
            else:
                blocked_owners.add(owner)


class ConcurrencyQuota:
    """Limits the concurrent operations of each owner. Use it on the event loop only.

    Args:
        name: The operations' name in error messages, such as requests.
        per_owner: Maximum number of concurrent operations of one owner.
    """

    def __init__(self, name: str, per_owner: int) -> None:
        self._name, self._per_owner = name, per_owner
        self._in_use: Counter[str] = Counter()

    @contextmanager
    def acquired(self, owner: str) -> Iterator[None]:
        """A context that counts as one operation.

        Raises:
            RateLimitError: The owner has reached the maximum.
        """
        if self._in_use[owner] >= self._per_owner:
            raise RateLimitError(f"{self._per_owner} {self._name} at once are the limit.", retry_after=1)
        self._in_use[owner] += 1
        try:
            yield
        finally:
            self._in_use[owner] -= 1
            if not self._in_use[owner]:
                del self._in_use[owner]
