"""What each owner has had of a worker's time, among those whose jobs it does at the moment.

As in Linux's scheduler (Molnár, 2007): who has had least goes on first, and who comes begins where those who are there
have got to. Who comes back is owed what others had meanwhile, as for the next of many short jobs that had to wait, but
no more than ``CREDIT``: nobody saves up for having been away.
"""

from __future__ import annotations

from collections.abc import Collection

CREDIT = 60.0
"""Seconds that somebody is owed at most."""


class OwnerTimes:
    """Seconds by owner, comparable with each other only."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def arrive(self, owner: str, others: Collection[str]) -> None:
        """An owner comes, to others who are there; with nobody there all begins anew."""
        if not others:
            self._seconds.clear()
        least = min((self.of(other) for other in others), default=0.0)
        self._seconds[owner] = max(self._seconds.get(owner, least), least - CREDIT)

    def charge(self, owner: str, seconds: float) -> None:
        """An owner has had so much more."""
        self._seconds[owner] = self.of(owner) + seconds

    def of(self, owner: str) -> float:
        """What an owner has had."""
        return self._seconds.get(owner, 0.0)

    def beyond(self, seconds: float) -> frozenset[str]:
        """Who has had more than so much."""
        return frozenset(owner for owner, had in self._seconds.items() if had > seconds)
