from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextvars import copy_context

import pytest
import structlog
from tests.jobs.worker_processes import wait_for

from safelight.errors import RateLimitError
from safelight.server.core.executors import image_executor
from safelight.server.core.executors.image_executor import SMALL_MEMORY, ImageCost, ImageExecutor

LARGE = ImageCost(100 * 10**6, 63 * 10**6)
SMALL = ImageCost(10**6, 10**6)


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """An event; submitted work blocks its thread until it is set."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def pool(blocked: threading.Event) -> Iterator[ImageExecutor]:
    """Three threads, and a budget of 250 MB for large images."""
    pool = ImageExecutor(2, 250 * 10**6 + 3 * SMALL_MEMORY)
    yield pool
    blocked.set()
    pool.shutdown(cancel_futures=True)


def start(pool: ImageExecutor, owner: str, do: object, cost: ImageCost) -> Future[object]:
    def owned() -> Future[object]:
        structlog.contextvars.bind_contextvars(owner=owner)
        return pool.submit(do, cost)  # type: ignore[arg-type]

    return copy_context().run(owned)


def test_a_small_picture_does_not_wait_for_large_ones(pool: ImageExecutor, blocked: threading.Event) -> None:
    for _ in range(100):
        start(pool, "anna", blocked.wait, LARGE)
        start(pool, "berta", blocked.wait, LARGE)
    assert start(pool, "carl", lambda: 1, SMALL).result(10) == 1
    assert start(pool, "anna", lambda: 2, SMALL).result(10) == 2


def test_a_small_picture_does_not_wait_for_another_owners_small_ones(
    pool: ImageExecutor, blocked: threading.Event
) -> None:
    for _ in range(100):
        start(pool, "anna", blocked.wait, SMALL)
        start(pool, "anna", blocked.wait, LARGE)
    assert start(pool, "berta", lambda: 1, SMALL).result(10) == 1


def test_a_large_picture_is_not_starved_by_small_ones(pool: ImageExecutor, blocked: threading.Event) -> None:
    def small() -> None:
        blocked.wait()
        time.sleep(0.002)

    many = [start(pool, owner, small, SMALL) for owner in ("anna", "berta", "carl") for _ in range(60)]
    large = start(pool, "anna", lambda: sum(each.done() for each in many), LARGE)
    blocked.set()
    assert int(large.result(20)) < 20  # type: ignore[call-overload]


def test_running_work_fits_the_budget(pool: ImageExecutor) -> None:
    held, most, lock = 0, 0, threading.Lock()

    def work(memory: int) -> None:
        nonlocal held, most
        with lock:
            held += memory
            most = max(most, held)
        threading.Event().wait(0.005)
        with lock:
            held -= memory

    costs = [ImageCost(memory * 10**6) for memory in (100, 200, 150, 240, 90, 110, 120, 130)]
    wait(
        [
            start(pool, owner, lambda cost=cost: work(cost.memory), cost)
            for cost in costs
            for owner in ("anna", "berta", "carl")
        ],
        30,
    )
    assert 200 * 10**6 < most <= 250 * 10**6


def test_work_larger_than_the_budget_is_the_only_large_one(
    pool: ImageExecutor, blocked: threading.Event
) -> None:
    huge = start(pool, "anna", blocked.wait, ImageCost(10**9))
    wait_for(huge.running)
    other = start(pool, "berta", blocked.wait, LARGE)
    assert start(pool, "carl", lambda: 1, SMALL).result(10) == 1
    assert not other.running()
    blocked.set()
    assert other.result(10)


def test_work_that_waits_for_the_budget_is_not_overtaken(
    pool: ImageExecutor, blocked: threading.Event
) -> None:
    order: list[str] = []
    first = start(pool, "anna", blocked.wait, ImageCost(200 * 10**6))
    huge = start(pool, "berta", lambda: order.append("huge"), ImageCost(240 * 10**6))
    more = [start(pool, "carl", lambda: order.append("more"), ImageCost(70 * 10**6)) for _ in range(10)]
    assert start(pool, "dora", lambda: 1, SMALL).result(10) == 1
    assert order == []
    blocked.set()
    wait([first, huge, *more], 10)
    assert order[0] == "huge"


def test_waiting_work_per_owner_is_limited(
    pool: ImageExecutor, blocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_executor, "MAX_WAITING", 5)
    for _ in range(5):
        start(pool, "anna", blocked.wait, LARGE)
    with pytest.raises(RateLimitError) as refused:  # noqa: PT012
        while True:  # one of them may have begun
            start(pool, "anna", blocked.wait, LARGE)
    assert refused.value.retry_after
    start(pool, "berta", blocked.wait, LARGE)


def test_cancelled_work_frees_its_place(
    pool: ImageExecutor, blocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_executor, "MAX_WAITING", 3)
    start(pool, "anna", blocked.wait, LARGE)
    for _ in range(20):
        assert start(pool, "anna", blocked.wait, LARGE).cancel()


def test_costs_add_up() -> None:
    one, other = ImageCost(5, 3), ImageCost(2, 10)
    assert one + other == ImageCost(7, 13)
    assert one.then(other) == ImageCost(5, 13)
    assert not ImageCost().is_large
    assert ImageCost(0, 64_000_000).is_large
    assert ImageCost(64_000_001).is_large
