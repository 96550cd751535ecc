from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from PIL import Image
from sqlalchemy import func, select, update
from tests.gallery.conftest import new_entry
from tests.jobs.store_helpers import submission
from tests.times import seconds_ago

from safelight.database import blobs, write_transaction
from safelight.gallery import NewEntry, Search
from safelight.jobs.job import JobKind, JobState, Signal, Submission
from safelight.jobs.queue.tables import jobs, workers
from safelight.jobs.queue_service import QueueService, prepare_database
from safelight.moderation.policy import Decision
from safelight.settings import Settings


@pytest.fixture
def service(database_settings: Settings) -> Iterator[QueueService]:
    prepare_database(database_settings)
    opened = QueueService.open(database_settings)
    yield opened
    opened.close()


def submit(service: QueueService, data: bytes) -> str:
    with write_transaction(service.engine) as connection:
        digest = blobs.put(connection, data)
    request = {"image": {"blob": digest}}
    return service.store.submit(Submission(kind=JobKind.UPSCALE, request=request)).id


def stored_counts(service: QueueService) -> int:
    with service.read_transaction() as connection:
        return connection.execute(select(func.count()).select_from(blobs.blobs)).scalar_one()


def test_preparing_twice_changes_nothing(database_settings: Settings, service: QueueService) -> None:
    job_id = submit(service, b"x")
    prepare_database(database_settings)
    assert service.store.get(job_id).id == job_id


def test_expired_jobs_are_deleted_with_their_blobs(service: QueueService) -> None:
    old, young = submit(service, b"old"), submit(service, b"young")
    job = service.store.claim("w")
    assert job is not None
    assert job.id == old
    service.store.succeed(job, {}, 1.0)
    assert stored_counts(service) == 1  # its blobs are deleted at once
    with write_transaction(service.engine) as connection:
        blobs.put(connection, b"left by a job that an older version forgot")
        connection.execute(update(jobs).where(jobs.c.id == old).values(expires=seconds_ago(1)))
        long_ago = datetime.now(UTC) - timedelta(days=1)
        connection.execute(update(blobs.blobs).values(created=long_ago))
    assert stored_counts(service) == 2
    service.delete_expired()
    assert [job.id for job in service.store.find()] == [young]
    assert stored_counts(service) == 1


def worker_info() -> dict[str, object]:
    return {
        "host": "here",
        "pid": 1,
        "device": "cpu",
        "state": "idle",
        "checkpoints": ["starter"],
        "memory": 1e9,
        "started": seconds_ago(0),
    }


def test_workers_are_listed_while_they_send_heartbeats(service: QueueService) -> None:
    service.register_worker("w", worker_info())
    service.register_worker("w", worker_info() | {"state": "busy"})
    (worker,) = service.workers()
    assert (worker["name"], worker["state"], worker["checkpoints"]) == ("w", "busy", ["starter"])
    service.unregister_worker("w")
    assert service.workers() == []


def test_lost_workers_are_deleted(service: QueueService) -> None:
    for name, silent in (("gone", 90_000.0), ("away", 3600.0)):
        service.register_worker(name, worker_info())
        with write_transaction(service.engine) as connection:
            connection.execute(update(workers).where(workers.c.name == name).values(seen=seconds_ago(silent)))
    service.delete_expired()
    with service.read_transaction() as connection:
        assert connection.execute(select(workers.c.name)).scalars().all() == ["away"]


def test_retention_deletes_jobs_entries_and_files(database_settings: Settings) -> None:
    settings = database_settings.model_copy(update={"job_retention": 0.0, "gallery_retention": 3600.0})
    prepare_database(settings)
    service = QueueService.open(settings)
    try:
        for name in ("old", "new"):
            service.store.submit(Submission(kind=JobKind.GENERATE, request={"prompt": name}))
            job = service.store.claim("w")
            assert job is not None
            service.gallery.add(entry_of(job.id, hours_ago=2 if name == "old" else 0))
            service.store.succeed(job, {})
        time.sleep(0.01)  # so that both have ended before now
        service.delete_expired()
        assert service.store.find() == []
        (kept,) = service.gallery.search(Search()).entries
        files = [path.stem for path in (settings.home / "gallery").rglob("*.png")]
        assert files == [kept.id]
    finally:
        service.close()


def entry_of(job_id: str, hours_ago: int) -> NewEntry:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return NewEntry(
        job_id=job_id,
        owner="local",
        created=datetime.now(UTC) - timedelta(hours=hours_ago),
        data=buffer.getvalue(),
        width=8,
        height=8,
        decision=Decision.ALLOW,
        unsafe=0.0,
        scores={},
        policy="standard",
    )


def test_a_clock_that_is_set_forward_deletes_nothing_at_once(
    database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither finished jobs nor images nor the blobs of a job that is being submitted."""
    settings = database_settings.model_copy(update={"gallery_retention": 86400.0})
    prepare_database(settings)
    service = QueueService.open(settings)
    job = service.store.submit(submission())
    service.store.send_signal(job.id, Signal.CANCEL)
    entry = service.gallery.add(new_entry(created=datetime.now(UTC).replace(microsecond=0)))
    with write_transaction(service.engine) as connection:
        digest = blobs.put(connection, b"a picture")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 30 * 86400)
    service.delete_expired()
    assert service.store.get(job.id).state is JobState.CANCELLED
    assert service.gallery.get(entry.id) == entry
    with service.read_transaction() as connection:
        assert blobs.get(connection, digest) == b"a picture"
    service.close()


def test_workers_with_heartbeats_from_before_the_clock_was_set_back_are_not_listed(
    database_settings: Settings,
) -> None:
    prepare_database(database_settings)
    service = QueueService.open(database_settings)
    for name in ("old", "new"):
        service.register_worker(name, worker_info())
    with write_transaction(service.engine) as connection:
        connection.execute(
            update(workers).where(workers.c.name == "old").values(seen=seconds_ago(-7 * 86400))
        )
    assert [worker["name"] for worker in service.workers()] == ["new"]
    service.delete_expired()
    with service.read_transaction() as connection:
        assert connection.execute(select(workers.c.name)).scalars().all() == ["new"]
    service.close()
