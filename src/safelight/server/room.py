"""Room that callers share, of which none may take more than half."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from safelight.errors import RateLimitError, ServerBusyError


class Room:
    """Counts bytes of what is on its way. Used on the event loop only.

    Args:
        size: How many there may be at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: Counter[str] = Counter()

    def enter(self, owner: str, amount: int) -> None:
        """Take some of it.

        Raises:
            ServerBusyError: There is not so much left, or not for this owner.
        """
        if self._held.total() + amount > self._size or self._held[owner] + amount > self._size // 2:
            raise ServerBusyError
        self._held[owner] += amount

    def leave(self, owner: str, amount: int) -> None:
        """Give some of it back."""
        self._held[owner] -= amount
        if self._held[owner] <= 0:
            del self._held[owner]


class Seats:
    """Counts what somebody does at once. Used on the event loop only.

    Args:
        what: In words, as requests.
        each: How many one owner may have.
    """

    def __init__(self, what: str, each: int) -> None:
        self._what, self._each = what, each
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Within it one more is taken.

        Raises:
            RateLimitError: The owner has as many as they may.
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
