from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import structlog
from starlette.testclient import TestClient

from safelight.jobs.job import JobKind, Submission
from safelight.jobs.queue_service import QueueService
from safelight.server.core.executors.thread_pools import DEFAULT_THREADS, ThreadPools


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """An event; submitted work blocks its thread until it is set."""
    event = threading.Event()
    yield event
    event.set()


def test_authentication_is_not_delayed_by_image_work_and_name_lookups(
    client: TestClient, blocked: threading.Event
) -> None:
    threads = client.app.state.safelight.threads  # type: ignore[attr-defined]

    async def keep_busy() -> list[asyncio.Task[bool]]:
        many = [threads.run_inspect(blocked.wait) for _ in range(50)] + [
            threads.run_dns(blocked.wait) for _ in range(50)
        ]
        waiting = [asyncio.create_task(one) for one in many]
        await asyncio.sleep(0.05)
        return waiting

    assert client.portal is not None
    waiting = client.portal.call(keep_busy)
    assert client.get("/v1/samplers").status_code == 200
    assert client.get("/v1/system").status_code == 200
    assert not any(task.done() for task in waiting)
    blocked.set()


def test_authentication_is_not_delayed_by_other_work(client: TestClient, blocked: threading.Event) -> None:
    """Also while asyncio's default executor is fully occupied; this route needs none of its threads."""

    async def keep_busy() -> list[asyncio.Task[bool]]:
        waiting = [asyncio.create_task(asyncio.to_thread(blocked.wait)) for _ in range(200)]
        await asyncio.sleep(0.05)
        return waiting

    assert client.portal is not None
    waiting = client.portal.call(keep_busy)
    assert client.get("/v1/samplers").status_code == 200
    assert not any(task.done() for task in waiting)
    blocked.set()


def test_image_work_is_limited_and_has_the_requests_context() -> None:
    seen: list[object] = []
    now, lock = 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal now
        with lock:
            now += 1
            seen.append(now)
        seen.append(structlog.contextvars.get_contextvars().get("request_id"))
        threading.Event().wait(0.01)
        with lock:
            now -= 1
        return number

    async def run() -> list[int]:
        structlog.contextvars.bind_contextvars(request_id="r-1")
        with closing(ThreadPools()) as threads:
            return await asyncio.gather(*(threads.run_inspect(work, number) for number in range(10)))

    assert asyncio.run(run()) == list(range(10))
    assert max(one for one in seen if isinstance(one, int)) <= ThreadPools().image_concurrency - 1
    assert {one for one in seen if not isinstance(one, int)} == {"r-1"}


def test_jobs_can_be_read_while_submissions_wait_for_the_database(
    client: TestClient, service: QueueService
) -> None:
    """Another program holds the write lock, and more submissions wait for it than any pool has threads."""
    job = service.store.submit(Submission(kind=JobKind.GENERATE, request={"prompt": "a cat", "seed": 1}))
    body = {"kind": "generate", "prompt": "a cat"}
    other = sqlite3.connect(service.settings.home / "safelight.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(DEFAULT_THREADS + 8) as pool:
        try:
            waiting = [pool.submit(client.post, "/v1/jobs", json=body) for _ in range(DEFAULT_THREADS + 8)]
            time.sleep(1)
            began = time.monotonic()
            assert client.get(f"/v1/jobs/{job.id}").status_code == 200
            assert time.monotonic() - began < 10
            assert not any(answer.done() for answer in waiting)
        finally:
            other.execute("ROLLBACK")
            other.close()
        assert {answer.result().status_code for answer in waiting} == {202}
