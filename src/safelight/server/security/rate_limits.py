"""Rate limits, counted for each owner before the work is done.

Limits per minute are token buckets in memory, since one process answers all requests. A key's daily quota is in the
database (``keys.spend``). Administrators have no limits per minute.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from safelight.errors import DatabaseError, RateLimitError
from safelight.logs import get_logger
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Principal, Role
from safelight.settings import Settings

MINUTE = 60.0
WRONG_KEYS_PER_MINUTE = 60
"""Maximum number of wrong keys from one address in a minute."""
AUDIT_NOTES_PER_MINUTE = 60
"""Maximum number of refusals of one address that are written to the audit log in a minute."""
LIMITED = ("requests", "pictures", "megapixels")
"""The limits per minute that clients see."""
_MAX_BUCKETS = 10_000


@dataclass
class TokenBucket:
    """A token bucket that is refilled in a minute.

    Args:
        size: Its capacity, in tokens.
        level: Its tokens at the last update.
        updated: Time of the last update, on the monotonic clock.
    """

    size: float
    level: float
    updated: float

    def refill(self, now: float) -> None:
        """Add the tokens that have accrued since the last update."""
        self.level = min(self.size, self.level + (now - self.updated) * self.size / MINUTE)
        self.updated = now

    def wait_for(self, amount: float) -> float:
        """Seconds until the bucket has so many tokens."""
        return max(0.0, (amount - self.level) * MINUTE / self.size)


@dataclass(frozen=True)
class RateStatus:
    """The status of one limit for one owner, for the RateLimit headers.

    Args:
        name: requests, pictures or megapixels.
        limit: The limit per minute.
        remaining: What remains now.
        reset: Seconds until the full limit is available again.
    """

    name: str
    limit: float
    remaining: float
    reset: float


class RateLimiter:
    """Counts requests, pictures and megapixels against their limits.

    Args:
        settings: The settings with the limits per minute.
        keys: The keys, which have daily quotas.
        clock: Returns monotonic seconds; tests pass their own.
    """

    def __init__(
        self, settings: Settings, keys: KeyStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._keys, self._clock = settings, keys, clock
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def _sizes(self) -> dict[str, float]:
        """The limits by name, as the settings are now; 0 is none."""
        settings = self._settings
        return {
            "requests": float(settings.requests_per_minute),
            "pictures": float(settings.pictures_per_minute),
            "megapixels": settings.megapixels_per_minute,
            "wrong keys": float(WRONG_KEYS_PER_MINUTE),
            "notes": float(AUDIT_NOTES_PER_MINUTE),
        }

    def count_request(self, principal: Principal) -> None:
        """Count one request.

        Raises:
            RateLimitError: The owner has no requests left.
        """
        if principal.role is not Role.ADMIN:
            self._take(principal.owner, {"requests": 1.0})

    def rates(self, principal: Principal) -> list[RateStatus]:
        """The status of each limit that applies to a principal."""
        if principal.role is Role.ADMIN:
            return []
        with self._lock:
            sizes = self._sizes
            return [self._rate(name, principal.owner, sizes[name]) for name in LIMITED if sizes[name]]

    def charge(self, principal: Principal, *, pictures: int, pixels: int) -> None:
        """Count pictures before they are generated or judged: all of them or none.

        Args:
            principal: The principal that requests them.
            pictures: Number of pictures.
            pixels: Sum of width times height over all pictures.

        Raises:
            RateLimitError: A limit per minute would be exceeded.
            QuotaError: The key's quota of the day would be exceeded.
        """
        amounts = {"pictures": float(pictures), "megapixels": pixels / 1e6}
        limited = {} if principal.role is Role.ADMIN else amounts
        self._take(principal.owner, limited)
        if principal.key_id is not None:
            try:
                self._keys.spend(principal.key_id, pictures, pixels)
            except BaseException:
                self._put_back(principal.owner, limited)
                raise

    @contextmanager
    def charged(self, principal: Principal, *, pictures: int, pixels: int) -> Iterator[None]:
        """Count pictures as ``charge`` does, and refund them if the block fails."""
        self.charge(principal, pictures=pictures, pixels=pixels)
        try:
            yield
        except Exception:
            self.refund(principal, pictures=pictures, pixels=pixels)
            raise

    def refund(self, principal: Principal, *, pictures: int, pixels: int) -> None:
        """Undo the charge of pictures that are not made."""
        if principal.role is not Role.ADMIN:
            self._put_back(principal.owner, {"pictures": float(pictures), "megapixels": pixels / 1e6})
        if principal.key_id is not None:
            try:
                self._keys.refund(principal.key_id, pictures, pixels)
            except DatabaseError as error:  # the client gets the error that caused the refund
                get_logger(__name__).warning("a refund is lost", error=error.message, owner=principal.owner)

    def count_wrong_key(self, address: str) -> None:
        """Count a wrong key.

        Raises:
            RateLimitError: Too many wrong keys came from this address.
        """
        self._take(address, {"wrong keys": 1.0})

    def may_note(self, address: str) -> bool:
        """Whether to write one more refusal to the audit log: frequent requests must not displace its other entries."""
        try:
            self._take(address, {"notes": 1.0})
        except RateLimitError:
            return False
        return True

    def _take(self, owner: str, amounts: dict[str, float]) -> None:
        sizes = self._sizes
        charges = {name: amount for name, amount in amounts.items() if sizes[name]}
        with self._lock:
            for name, amount in charges.items():
                bucket = self._bucket(name, owner, sizes[name])
                if amount > bucket.size:
                    raise RateLimitError(
                        f"{amount:g} {name} are more than the limit of {bucket.size:g} a minute.",
                        hint="Ask for less at once.",
                    )
                if amount > bucket.level:
                    raise RateLimitError(
                        f"The limit is {bucket.size:g} {name} a minute.", retry_after=bucket.wait_for(amount)
                    )
            for name, amount in charges.items():
                self._bucket(name, owner, sizes[name]).level -= amount

    def _put_back(self, owner: str, amounts: dict[str, float]) -> None:
        sizes = self._sizes
        with self._lock:
            for name, amount in amounts.items():
                if sizes[name]:
                    self._bucket(name, owner, sizes[name]).level += amount

    def _rate(self, name: str, owner: str, size: float) -> RateStatus:
        bucket = self._bucket(name, owner, size)
        return RateStatus(name, bucket.size, bucket.level, bucket.wait_for(bucket.size))

    def _bucket(self, name: str, owner: str, size: float) -> TokenBucket:
        """A refilled bucket; above the maximum number, the least recently used one is evicted.

        If the limit has changed, what was used of it stays used.
        """
        now = self._clock()
        bucket = self._buckets.setdefault((name, owner), TokenBucket(size, size, now))
        self._buckets.move_to_end((name, owner))
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.size != size:
            bucket.level, bucket.size = bucket.level + size - bucket.size, size
        bucket.refill(now)
        return bucket
