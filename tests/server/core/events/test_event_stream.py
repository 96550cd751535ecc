from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safelight.errors import DatabaseBusyError, InternalError
from safelight.jobs.job import Event, JobKind, JobState, Signal, Submission
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.server.core.events import event_stream
from safelight.server.core.events.event_stream import EventStream
from safelight.settings import Settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[QueueService]:
    settings = Settings(home=tmp_path)
    prepare_database(settings)
    opened = QueueService.open(settings)
    yield opened
    opened.close()


async def wait_through_an_outage(service: QueueService, broken: str, error: Exception) -> JobState:
    """Wait for a job while the listener's read of the database fails, twice."""
    store = service.store
    job = store.submit(Submission(kind=JobKind.GENERATE, request={}))
    whole, failures = getattr(store, broken), []

    def fail(*given: Any, **options: Any) -> Any:
        if len(failures) < 2 and len(given) < 2:  # the waiting request reads the events of its own job
            failures.append(broken)
            raise error
        return whole(*given, **options)

    setattr(store, broken, fail)
    async with asyncio.timeout(30), EventStream(store) as feed:
        waiting = asyncio.create_task(feed.wait_until_ended(job.id))
        while len(failures) < 2:
            await asyncio.sleep(0.01)
        begun = store.claim("w")
        assert begun is not None
        await asyncio.sleep(0.1)
        store.succeed(begun, {})
        return (await waiting).state


@pytest.mark.parametrize("error", [DatabaseBusyError(), RuntimeError("a surprise")])
@pytest.mark.parametrize("broken", ["last_event", "events"])
def test_an_outage_is_survived(
    service: QueueService, broken: str, error: Exception, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    assert asyncio.run(wait_through_an_outage(service, broken, error)) is JobState.SUCCEEDED
    assert [line["event"] for line in logged()].count("a defect") == isinstance(error, RuntimeError)


def test_a_lasting_defect_is_raised_to_the_waiting_request(
    service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(event_stream, "ERROR_DEADLINE", 0.05)
    store = service.store
    job = store.submit(Submission(kind=JobKind.GENERATE, request={}))
    monkeypatch.setattr(store, "last_event", lambda: 1 / 0)

    async def wait() -> None:
        async with asyncio.timeout(30), EventStream(store) as watched:
            await watched.wait_until_ended(job.id)

    with pytest.raises(InternalError, match="cannot be read"):
        asyncio.run(wait())


def test_a_failing_listener_affects_no_other(service: QueueService) -> None:
    async def heard() -> list[Event]:
        store = service.store
        job = store.submit(Submission(kind=JobKind.GENERATE, request={}))
        found: list[Event] = []

        def fail(_: Event) -> None:
            raise KeyError

        async with asyncio.timeout(30), EventStream(store) as watched:
            with watched.subscribed(fail, job.id), watched.subscribed(found.append):
                await watched.wait_until_polling()
                store.send_signal(job.id, Signal.CANCEL)
                while not found:
                    await asyncio.sleep(0.01)
        return found

    assert len(asyncio.run(heard())) == 1


def test_a_listener_gets_the_events_of_all_jobs_from_now_on(service: QueueService) -> None:
    async def heard() -> tuple[list[str], list[str]]:
        store = service.store
        old = store.submit(Submission(kind=JobKind.GENERATE, request={}))
        all_jobs: list[Event] = []
        one_job: list[Event] = []
        async with asyncio.timeout(30), EventStream(store) as feed:
            with feed.subscribed(all_jobs.append), feed.subscribed(one_job.append, old.id):
                await feed.wait_until_polling()
                new = store.submit(Submission(kind=JobKind.GENERATE, request={}))
                store.send_signal(old.id, Signal.CANCEL)
                while len(all_jobs) < 2:
                    await asyncio.sleep(0.01)
            store.send_signal(new.id, Signal.CANCEL)
            await asyncio.sleep(0.2)
            names = {old.id: "old", new.id: "new"}
            return [names[event.job_id] for event in all_jobs], [names[event.job_id] for event in one_job]

    assert asyncio.run(heard()) == (["new", "old"], ["old", "old"])
