from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safelight.errors import QuotaError, RateLimitError
from safelight.jobs.queue_service import QueueService
from safelight.server.security import rate_limits as module
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import LOCAL, Principal, Role
from safelight.server.security.rate_limits import RateLimiter
from safelight.settings import Settings

ANNA = Principal("anna", Role.USER, None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(service: QueueService, clock: Clock, **fields: Any) -> RateLimiter:
    return RateLimiter(Settings(home=Path("/nowhere"), **fields), KeyStore(service.engine), clock)


def test_tokens_are_refilled_within_the_minute(service: QueueService, clock: Clock) -> None:
    counted = limits(service, clock, requests_per_minute=6)
    for _ in range(6):
        counted.count_request(ANNA)
    with pytest.raises(RateLimitError) as caught:
        counted.count_request(ANNA)
    assert caught.value.retry_after == pytest.approx(10)
    counted.count_request(Principal("berta", Role.USER))
    clock.now += 10.01
    counted.count_request(ANNA)
    with pytest.raises(RateLimitError):
        counted.count_request(ANNA)


def test_the_remaining_tokens_are_reported(service: QueueService, clock: Clock) -> None:
    counted = limits(service, clock, requests_per_minute=60, pictures_per_minute=4)
    counted.count_request(ANNA)
    counted.charge(ANNA, pictures=3, pixels=1)
    (requests, pictures) = counted.rates(ANNA)
    assert (requests.name, requests.limit, requests.remaining, requests.reset) == ("requests", 60, 59, 1)
    assert (pictures.name, pictures.limit, pictures.remaining, pictures.reset) == ("pictures", 4, 1, 45)


def test_administrators_have_no_limit_per_minute(service: QueueService, clock: Clock) -> None:
    counted = limits(service, clock, requests_per_minute=1, pictures_per_minute=1)
    for _ in range(5):
        counted.count_request(LOCAL)
        counted.charge(LOCAL, pictures=9, pixels=9)
    assert counted.rates(LOCAL) == []


def test_pictures_are_taken_all_or_none(service: QueueService, clock: Clock) -> None:
    counted = limits(service, clock, pictures_per_minute=10, megapixels_per_minute=1)
    with pytest.raises(RateLimitError, match="megapixels") as caught:
        counted.charge(ANNA, pictures=5, pixels=1_000_001)
    assert caught.value.retry_after is None  # it never fits the limit
    counted.charge(ANNA, pictures=10, pixels=500_000)
    with pytest.raises(RateLimitError, match="pictures") as caught:
        counted.charge(ANNA, pictures=5, pixels=500_000)
    assert caught.value.retry_after == pytest.approx(30)
    clock.now += 30
    counted.charge(ANNA, pictures=5, pixels=750_000)


def test_a_refusal_by_the_daily_quota_takes_nothing_from_the_minute(
    service: QueueService, clock: Clock
) -> None:
    keys = KeyStore(service.engine)
    anna = keys.authenticate(keys.add("anna", pictures_per_day=3))
    counted = limits(service, clock, pictures_per_minute=4)
    with pytest.raises(QuotaError):
        counted.charge(anna, pictures=4, pixels=0)
    counted.charge(anna, pictures=3, pixels=0)


def test_the_daily_quota_holds_for_administrators_too(service: QueueService, clock: Clock) -> None:
    keys = KeyStore(service.engine)
    root = keys.authenticate(keys.add("root", Role.ADMIN, pictures_per_day=3))
    with pytest.raises(QuotaError):
        limits(service, clock).charge(root, pictures=4, pixels=0)


def test_wrong_keys_are_limited_by_address(service: QueueService, clock: Clock) -> None:
    counted = limits(service, clock, requests_per_minute=0)
    for _ in range(module.WRONG_KEYS_PER_MINUTE):
        counted.count_wrong_key("10.0.0.1")
    with pytest.raises(RateLimitError):
        counted.count_wrong_key("10.0.0.1")
    counted.count_wrong_key("10.0.0.2")


def test_memory_is_bounded(service: QueueService, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_BUCKETS", 10)
    counted = limits(service, clock)
    for number in range(100):
        counted.count_wrong_key(f"10.0.0.{number}")
    assert len(counted._buckets) == 10
