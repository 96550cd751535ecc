from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import func, select

from safelight.database import blobs
from safelight.errors import (
    DatabaseBusyError,
    IdempotencyConflictError,
    ImageError,
    JobTooLargeError,
    OwnerBytesLimitError,
    OwnerJobsLimitError,
    QueueFullError,
    QuotaError,
    RequestError,
)
from safelight.jobs.job import Job, JobKind
from safelight.jobs.queue.tables import jobs
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.core.submission import submit
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import LOCAL, Principal

DRAWING = {"prompt": "a lighthouse", "width": 64, "height": 32}


def submit_job(
    service: QueueService, who: Principal, kind: JobKind, fields: Mapping[str, Any], **options: Any
) -> Job:
    """Submit a job to a running application."""

    async def run(app: FastAPI) -> Job:
        async with app.router.lifespan_context(app):
            return await submit(app.state.safelight, who, kind, fields, **options)

    return asyncio.run(run(create_app(service, service.settings)))


def test_a_path_is_no_image(service: QueueService, photographs: list[Path]) -> None:
    """Inside the server a string means a file; from a client it must not."""
    path = str(photographs[0])
    for kind, fields in (
        (JobKind.GENERATE, DRAWING | {"init_image": path}),
        (JobKind.GENERATE, DRAWING | {"init_image": photographs[0].read_bytes(), "mask": path}),
        (JobKind.UPSCALE, {"image": path}),
        (JobKind.SCAN, {"images": [path]}),
    ):
        with pytest.raises(RequestError, match="bytes"):
            submit_job(service, LOCAL, kind, fields)
    assert service.store.find() == []


@pytest.mark.parametrize(
    ("kind", "fields", "pictures", "megapixels"),
    [
        (JobKind.GENERATE, DRAWING | {"count": 3}, 3, 0.006144),
        (JobKind.GENERATE, DRAWING | {"hires": {"scale": 2}}, 1, 0.008192),
        (JobKind.GENERATE, {"prompt": "x"}, 1, 0.262144),
        (JobKind.GENERATE, {"prompt": "x", "init_image": None}, 1, 0.262144),
        (JobKind.GENERATE, {"prompt": "x", "init_image": None, "outpaint": {"left": 512}}, 1, 2 * 0.262144),
        (
            JobKind.GENERATE,
            {"prompt": "x", "init_image": None, "outpaint": {"left": 512}, "width": 64, "height": 64},
            1,
            2 * 0.262144,
        ),
        (JobKind.GENERATE, {"prompt": "x", "init_image": None, "width": 64, "height": 64}, 1, 0.004096),
        (JobKind.UPSCALE, {"image": None, "by": 2}, 1, 4 * 0.262144),
        (JobKind.SCAN, {"images": [b"1", b"2"]}, 2, 0),
    ],
)
def test_how_many_pictures_a_job_counts_as(
    service: QueueService,
    kind: JobKind,
    fields: dict[str, Any],
    pictures: int,
    megapixels: float,
    photographs: list[Path],
) -> None:
    astronaut = photographs[0].read_bytes()  # 512 x 512
    fields = {name: astronaut if value is None else value for name, value in fields.items()}
    keys = KeyStore(service.engine)
    enough = keys.authenticate(keys.add("enough", pictures_per_day=pictures, megapixels_per_day=megapixels))
    assert submit_job(service, enough, kind, fields).owner == "enough"
    few = keys.authenticate(keys.add("few", pictures_per_day=pictures - 1))
    with pytest.raises(QuotaError):
        submit_job(service, few, kind, fields)
    if megapixels:
        small = keys.authenticate(keys.add("small", megapixels_per_day=megapixels - 0.000001))
        with pytest.raises(QuotaError):
            submit_job(service, small, kind, fields)


def test_an_initial_picture_counts_by_its_own_size(service: QueueService) -> None:
    """Not by the default size that is assumed where nothing is known."""
    out = io.BytesIO()
    Image.new("RGB", (2000, 1500)).save(out, "PNG")
    keys = KeyStore(service.engine)
    anna = keys.authenticate(keys.add("anna", megapixels_per_day=2.9))
    with pytest.raises(QuotaError):
        submit_job(service, anna, JobKind.GENERATE, {"prompt": "x", "init_image": out.getvalue()})


def test_an_invalid_request_does_not_count(service: QueueService) -> None:
    keys = KeyStore(service.engine)
    anna = keys.authenticate(keys.add("anna", pictures_per_day=1))
    with pytest.raises(RequestError):
        submit_job(service, anna, JobKind.GENERATE, DRAWING | {"steps": 0})
    with pytest.raises(ImageError):
        submit_job(service, anna, JobKind.UPSCALE, {"image": b"no picture"})
    submit_job(service, anna, JobKind.GENERATE, DRAWING)


def test_the_same_key_returns_the_same_job_and_counts_once(service: QueueService) -> None:
    keys = KeyStore(service.engine)
    anna = keys.authenticate(keys.add("anna", pictures_per_day=1))
    jobs = {submit_job(service, anna, JobKind.GENERATE, DRAWING, idempotency_key="k").id for _ in range(3)}
    assert len(jobs) == 1


def test_the_slower_of_two_equal_requests_is_refunded(
    service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see that the idempotency key is unused at the same time; only one of them creates the job."""
    monkeypatch.setattr("safelight.server.core.submission._is_submitted", lambda *_: False)
    keys = KeyStore(service.engine)
    anna = keys.authenticate(keys.add("anna", pictures_per_day=2))
    for number in range(3):
        submit_job(service, anna, JobKind.GENERATE, DRAWING, idempotency_key="k", request_id=str(number))
    submit_job(service, anna, JobKind.GENERATE, DRAWING)
    with pytest.raises(QuotaError):
        submit_job(service, anna, JobKind.GENERATE, DRAWING)


def test_a_database_error_is_refunded(service: QueueService, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyStore(service.engine)
    anna = keys.authenticate(keys.add("anna", pictures_per_day=1))

    def busy(*_: object, **__: object) -> Job:
        raise DatabaseBusyError

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "submit", busy)
        with pytest.raises(DatabaseBusyError):
            submit_job(service, anna, JobKind.GENERATE, DRAWING)
    submit_job(service, anna, JobKind.GENERATE, DRAWING)


def noise_png(side: int) -> bytes:
    """An incompressible image."""
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def stored_blobs(service: QueueService) -> tuple[int, int]:
    """Images in the database, and bytes of its files to the nearest megabyte."""
    with service.read_transaction() as connection:
        rows = connection.execute(select(func.count()).select_from(blobs.blobs)).scalar_one()
    files = service.settings.home.glob("safelight.db*")
    return rows, round(sum(file.stat().st_size for file in files) / 1e6)


@pytest.mark.parametrize("why", ["full", "share", "bytes", "key"])
def test_a_refused_job_leaves_no_data(open_service: Callable[..., QueueService], why: str) -> None:
    service = open_service(queue_capacity=4, waiting_per_owner=2, waiting_bytes_per_owner=10**8)
    if why == "bytes":
        service = open_service(waiting_bytes_per_owner=1000)
    keys = KeyStore(service.engine)
    anna, berta, carla = (keys.authenticate(keys.add(name)) for name in ("anna", "berta", "carla"))
    options = {"idempotency_key": "used"} if why == "key" else {}
    submit_job(service, anna, JobKind.GENERATE, DRAWING, **options)
    errors = {
        "full": QueueFullError,
        "share": OwnerJobsLimitError,
        "bytes": OwnerBytesLimitError,
        "key": IdempotencyConflictError,
    }
    if why == "full":
        for who in (berta, carla, LOCAL):
            submit_job(service, who, JobKind.GENERATE, DRAWING)
    if why == "share":
        submit_job(service, anna, JobKind.GENERATE, DRAWING)
    before = stored_blobs(service)
    for _ in range(12):
        with pytest.raises(errors[why]):
            submit_job(service, anna, JobKind.UPSCALE, {"image": noise_png(1000)}, **options)
    assert stored_blobs(service) == before


def test_the_size_of_a_job_is_limited(open_service: Callable[..., QueueService]) -> None:
    service = open_service(max_job_work=100.0)
    with pytest.raises(JobTooLargeError, match="allowed"):
        submit_job(service, LOCAL, JobKind.GENERATE, DRAWING | {"steps": 1000, "count": 1000})
    job = submit_job(service, LOCAL, JobKind.GENERATE, DRAWING | {"steps": 1000, "count": 48})
    assert job.request["count"] == 48


def test_without_keys_no_owner_has_a_share(open_service: Callable[..., QueueService]) -> None:
    service = open_service(queue_capacity=4, waiting_per_owner=1, waiting_bytes_per_owner=0)
    for _ in range(4):
        submit_job(service, LOCAL, JobKind.UPSCALE, {"image": noise_png(8)})


def test_waiting_work_is_counted_by_its_input_pictures(
    service: QueueService, photographs: list[Path]
) -> None:
    astronaut = photographs[0].read_bytes()  # 512 x 512
    submit_job(service, LOCAL, JobKind.GENERATE, {"prompt": "x", "init_image": astronaut, "steps": 10})
    with service.read_transaction() as connection:
        cost = connection.execute(select(jobs.c.cost)).scalar_one()
    assert cost == pytest.approx(0.512**2 * 10 * 0.75)
