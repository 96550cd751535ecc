from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from safelight.database import blobs, writing
from safelight.jobs.job import JobKind, Submission
from safelight.jobs.service import Service, prepare
from safelight.jobs.tables import jobs
from safelight.settings import Settings


@pytest.fixture
def service(database_settings: Settings) -> Iterator[Service]:
    prepare(database_settings)
    opened = Service.open(database_settings)
    yield opened
    opened.close()


def submit(service: Service, data: bytes) -> str:
    with writing(service.engine) as connection:
        digest = blobs.put(connection, data)
    request = {"image": {"blob": digest}}
    return service.ledger.submit(Submission(kind=JobKind.UPSCALE, request=request)).id


def kept(service: Service) -> int:
    with service.reading() as connection:
        return connection.execute(select(func.count()).select_from(blobs.blobs)).scalar_one()


def test_preparing_twice_changes_nothing(database_settings: Settings, service: Service) -> None:
    job_id = submit(service, b"x")
    prepare(database_settings)
    assert service.ledger.get(job_id).id == job_id


def test_what_has_expired_is_deleted_with_all_it_needed(service: Service) -> None:
    old, young = submit(service, b"old"), submit(service, b"young")
    job = service.ledger.claim("w")
    assert job is not None
    assert job.id == old
    service.ledger.succeed(job, {}, 1.0)
    with writing(service.engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == old).values(expires=time.time() - 1))
        long_ago = datetime.now(UTC) - timedelta(days=1)
        connection.execute(update(blobs.blobs).values(created=long_ago))
    assert kept(service) == 2
    service.clean()
    assert [job.id for job in service.ledger.find()] == [young]
    assert kept(service) == 1


def test_workers_are_known_while_they_are_heard(service: Service) -> None:
    described = {
        "host": "here",
        "pid": 1,
        "device": "cpu",
        "state": "idle",
        "checkpoints": ["starter"],
        "memory": 1e9,
        "started": time.time(),
    }
    service.register_worker("w", described)
    service.register_worker("w", described | {"state": "busy"})
    (worker,) = service.workers()
    assert (worker["name"], worker["state"], worker["checkpoints"]) == ("w", "busy", ["starter"])
    service.forget_worker("w")
    assert service.workers() == []
