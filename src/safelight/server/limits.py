"""How much may be asked for: counted before the work, per owner.

What may be asked for within a minute is kept in memory, since one process answers all requests. What a key may ask for
within a day is in the database (``keys.spend``). Administrators are not held back by the minute.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from safelight.errors import DatabaseError, RateLimitError
from safelight.logs import logger
from safelight.server.keys import Keys
from safelight.server.roles import Caller, Role
from safelight.settings import Settings

MINUTE = 60.0
WRONG_KEYS_PER_MINUTE = 60
"""How many wrong keys may come from one address."""
NOTES_PER_MINUTE = 60
"""How many refusals of one address are noted in the audit log."""
COUNTED = ("requests", "pictures", "megapixels")
"""What is limited by the minute."""
_MOST_BUCKETS = 10_000


@dataclass
class Bucket:
    """A token bucket: so much at once, and as much again in a minute.

    Args:
        size: How much it holds.
        level: How much is in it.
        seen: When that was, on the monotonic clock.
    """

    size: float
    level: float
    seen: float

    def fill(self, now: float) -> None:
        """Let in what has come since it was looked at."""
        self.level = min(self.size, self.level + (now - self.seen) * self.size / MINUTE)
        self.seen = now

    def wait_for(self, amount: float) -> float:
        """Seconds until so much is in it."""
        return max(0.0, (amount - self.level) * MINUTE / self.size)


@dataclass(frozen=True)
class Rate:
    """Where somebody stands with one limit, for the RateLimit headers.

    Args:
        name: requests, pictures or megapixels.
        limit: How much in a minute.
        left: How much is left now.
        reset: Seconds until all of it is there again.
    """

    name: str
    limit: float
    left: float
    reset: float


class Limits:
    """Counts what is asked for.

    Args:
        settings: With the limits per minute.
        keys: Counts by the day.
        clock: The time in seconds, for tests.
    """

    def __init__(self, settings: Settings, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._sizes = {
            "requests": float(settings.requests_per_minute),
            "pictures": float(settings.pictures_per_minute),
            "megapixels": settings.megapixels_per_minute,
            "wrong keys": float(WRONG_KEYS_PER_MINUTE),
            "notes": float(NOTES_PER_MINUTE),
        }
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def request(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            RateLimitError: It is one too many.
        """
        if caller.role is not Role.ADMIN:
            self._take(caller.owner, {"requests": 1.0})

    def rates(self, caller: Caller) -> list[Rate]:
        """Where somebody stands with the limits that hold for them."""
        if caller.role is Role.ADMIN:
            return []
        with self._lock:
            return [self._rate(name, caller.owner) for name in COUNTED if self._sizes[name]]

    def charge(self, caller: Caller, *, pictures: int, pixels: int) -> None:
        """Count pictures before they are made or judged: all of them, or nothing.

        Args:
            caller: Who asks for them.
            pictures: How many.
            pixels: Width times height, over all of them.

        Raises:
            RateLimitError: It is more than may be asked for within a minute.
            QuotaError: It is more than the key has left for today.
        """
        amounts = {"pictures": float(pictures), "megapixels": pixels / 1e6}
        limited = {} if caller.role is Role.ADMIN else amounts
        self._take(caller.owner, limited)
        if caller.key_id is not None:
            try:
                self._keys.spend(caller.key_id, pictures, pixels)
            except BaseException:
                self._give_back(caller.owner, limited)
                raise

    @contextmanager
    def charged(self, caller: Caller, *, pictures: int, pixels: int) -> Iterator[None]:
        """Count pictures as ``charge`` does; what fails within costs nothing."""
        self.charge(caller, pictures=pictures, pixels=pixels)
        try:
            yield
        except Exception:
            self.refund(caller, pictures=pictures, pixels=pixels)
            raise

    def refund(self, caller: Caller, *, pictures: int, pixels: int) -> None:
        """Take back what was charged for pictures that are not made."""
        if caller.role is not Role.ADMIN:
            self._give_back(caller.owner, {"pictures": float(pictures), "megapixels": pixels / 1e6})
        if caller.key_id is not None:
            try:
                self._keys.refund(caller.key_id, pictures, pixels)
            except DatabaseError as error:  # what went wrong before is what the caller is to hear of
                logger(__name__).warning("a refund is lost", error=error.message, owner=caller.owner)

    def wrong_key(self, address: str) -> None:
        """Count a wrong key.

        Raises:
            RateLimitError: Too many came from this address.
        """
        self._take(address, {"wrong keys": 1.0})

    def worth_noting(self, address: str) -> bool:
        """Whether one more refusal goes into the audit log: nobody is to drive out what is in it by asking often."""
        try:
            self._take(address, {"notes": 1.0})
        except RateLimitError:
            return False
        return True

    def _take(self, owner: str, amounts: dict[str, float]) -> None:
        wanted = {name: amount for name, amount in amounts.items() if self._sizes[name]}
        with self._lock:
            for name, amount in wanted.items():
                bucket = self._bucket(name, owner)
                if amount > bucket.size:
                    raise RateLimitError(
                        f"{amount:g} {name} are more than the limit of {bucket.size:g} a minute.",
                        hint="Ask for less at once.",
                    )
                if amount > bucket.level:
                    raise RateLimitError(
                        f"The limit is {bucket.size:g} {name} a minute.", retry_after=bucket.wait_for(amount)
                    )
            for name, amount in wanted.items():
                self._bucket(name, owner).level -= amount

    def _give_back(self, owner: str, amounts: dict[str, float]) -> None:
        with self._lock:
            for name, amount in amounts.items():
                if self._sizes[name]:
                    self._bucket(name, owner).level += amount

    def _rate(self, name: str, owner: str) -> Rate:
        bucket = self._bucket(name, owner)
        return Rate(name, bucket.size, bucket.level, bucket.wait_for(bucket.size))

    def _bucket(self, name: str, owner: str) -> Bucket:
        """A bucket as it is now; of too many, the one that was not looked at for longest is forgotten."""
        now, size = self._clock(), self._sizes[name]
        bucket = self._buckets.setdefault((name, owner), Bucket(size, size, now))
        self._buckets.move_to_end((name, owner))
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.fill(now)
        return bucket
