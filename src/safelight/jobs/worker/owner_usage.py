"""How much of a worker's time each owner has used, among the owners of its running jobs.

As in Linux's scheduler (Molnár, 2007), the owner with the least usage goes first, and a new owner starts at the least
usage of the present ones. An owner who returns keeps a deficit, as for the next of many short jobs that had to wait,
but of at most ``MAX_CREDIT``: an idle owner gains no advantage.
"""

from __future__ import annotations

from collections.abc import Collection

MAX_CREDIT = 60.0
"""Largest deficit of a returning owner, in seconds."""


class OwnerUsage:
    """Seconds used by each owner; only differences between them are meaningful."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def add_owner(self, owner: str, others: Collection[str]) -> None:
        """Add an owner beside others; without others, all usage is reset."""
        if not others:
            self._seconds.clear()
        least = min((self.seconds_of(present_owner) for present_owner in others), default=0.0)
        self._seconds[owner] = max(self._seconds.get(owner, least), least - MAX_CREDIT)

    def charge(self, owner: str, seconds: float) -> None:
        """Add to an owner's usage."""
        self._seconds[owner] = self.seconds_of(owner) + seconds

    def seconds_of(self, owner: str) -> float:
        """An owner's usage."""
        return self._seconds.get(owner, 0.0)

    def owners_above(self, seconds: float) -> frozenset[str]:
        """The owners with more usage than this."""
        return frozenset(owner for owner, used in self._seconds.items() if used > seconds)
