from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from contextvars import copy_context

import pytest
import structlog

from safelight.server.core.executors.fair_executor import FairExecutor, current_owner


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """An event; submitted work blocks its thread until it is set."""
    event = threading.Event()
    yield event
    event.set()


def submit(pool: FairExecutor, owner: str, *work: object) -> Future[object]:
    """Submit as a request of an owner does."""

    def owned() -> Future[object]:
        structlog.contextvars.bind_contextvars(owner=owner)
        assert current_owner() == owner
        return pool.submit(*work)  # type: ignore[arg-type]

    return copy_context().run(owned)


def test_one_owner_never_occupies_all_threads(blocked: threading.Event) -> None:
    with FairExecutor(4, "test") as pool:
        many = [submit(pool, "anna", blocked.wait, 20) for _ in range(50)]
        assert submit(pool, "berta", lambda: 7).result(10) == 7
        assert sum(each.running() for each in many) == 1
        blocked.set()
        wait(many, 20)
        assert all(each.result() for each in many)


def test_owners_take_turns(blocked: threading.Event) -> None:
    order: list[str] = []
    with FairExecutor(1, "test") as pool:
        first = submit(pool, "anna", blocked.wait, 20)
        work = [submit(pool, "anna", order.append, "anna") for _ in range(5)]
        work += [submit(pool, name, order.append, name) for name in ("berta", "carl")]
        blocked.set()
        wait([first, *work], 20)
    assert order.index("berta") <= 1
    assert order.index("carl") <= 2


def test_cancelled_work_never_begins(blocked: threading.Event) -> None:
    done: list[int] = []
    with FairExecutor(1, "test") as pool:
        submit(pool, "anna", blocked.wait, 20)
        given_up = [submit(pool, "anna", done.append, number) for number in range(100)]
        last = submit(pool, "anna", done.append, -1)
        assert all(each.cancel() for each in given_up)
        blocked.set()
        last.result(10)
    assert done == [-1]


def test_an_exception_is_raised_to_the_waiting_caller() -> None:
    with FairExecutor(2, "test") as pool:
        with pytest.raises(ZeroDivisionError):
            submit(pool, "anna", lambda: 1 / 0).result(10)
        assert submit(pool, "anna", lambda: 1).result(10) == 1


def test_shutdown_drops_or_completes_waiting_work(blocked: threading.Event) -> None:
    for dropping in (True, False):
        blocked.clear()
        pool = FairExecutor(1, "test")
        first, second = submit(pool, "anna", blocked.wait, 20), submit(pool, "anna", lambda: 2)
        pool.shutdown(wait=False, cancel_futures=dropping)
        blocked.set()
        assert first.result(10)
        if dropping:
            with pytest.raises(CancelledError):
                second.result(10)
        else:
            assert second.result(10) == 2
        with pytest.raises(RuntimeError):
            submit(pool, "anna", lambda: 3)


def test_it_serves_as_an_event_loops_executor() -> None:
    async def run() -> list[int]:
        asyncio.get_running_loop().set_default_executor(FairExecutor(3, "test"))
        return await asyncio.gather(*(asyncio.to_thread(pow, number, 2) for number in range(50)))

    assert asyncio.run(run()) == [number**2 for number in range(50)]


def test_no_work_is_lost_under_load() -> None:
    with FairExecutor(3, "test") as pool:
        futures = [submit(pool, str(number % 7), time.sleep, 0.0001) for number in range(2000)]
        assert not wait(futures, 30).not_done
