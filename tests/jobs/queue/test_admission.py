from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import Engine, func, select
from tests.jobs.store_helpers import claim_job, submission

from safelight.database import blobs, read_transaction
from safelight.errors import (
    IdempotencyConflictError,
    OwnerBytesLimitError,
    OwnerJobsLimitError,
    QueueFullError,
    SafelightError,
)
from safelight.jobs.job import Job, JobKind, Signal
from safelight.jobs.payloads import UpscaleRequest, store_request
from safelight.jobs.queue.admission import QueueLimits, QueueRules
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue.tables import job_blobs, job_inputs


@pytest.fixture
def limited(database: Engine) -> Callable[..., JobStore]:
    return lambda **limits: JobStore(database, lambda: QueueRules(limits=QueueLimits(**limits)))


def submit_upscaling(store: JobStore, data: bytes, owner: str = "anna", **fields: object) -> Job:
    """Submit an upscaling job with a picture, which this test never decodes."""
    body, pictures = store_request(UpscaleRequest(image=data))
    given = submission(owner, kind=JobKind.UPSCALE, request=body, **fields)
    return store.submit(given, pictures, shared=True)


def stored_blobs(database: Engine) -> tuple[int, int, int]:
    """Bytes of blobs in the database, and rows that refer to them."""
    with read_transaction(database) as connection:
        nbytes = connection.execute(select(func.sum(func.length(blobs.blobs.c.data)))).scalar() or 0
        rows = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (job_blobs, job_inputs)
        ]
    return (nbytes, *rows)  # type: ignore[return-value]


def test_one_owner_never_fills_the_queue(limited: Callable[..., JobStore]) -> None:
    store = limited(capacity=40)
    for _ in range(20):
        store.submit(submission("greedy"), shared=True)
    with pytest.raises(
        OwnerJobsLimitError, match="20 of your jobs wait already; with 20 places left, at most 20"
    ):
        store.submit(submission("greedy"), shared=True)
    assert store.submit(submission("modest"), shared=True).position == 1 + 1


def test_each_owner_leaves_half_of_the_remaining_capacity(limited: Callable[..., JobStore]) -> None:
    store, taken = limited(capacity=40), []
    for number in range(4):
        with suppress(OwnerJobsLimitError):
            while True:
                store.submit(submission(f"owner {number}"), shared=True)
        taken.append(len(store.find(f"owner {number}")))
    assert taken == [20, 10, 5, 3]


def test_capacity_is_released(limited: Callable[..., JobStore]) -> None:
    store = limited(per_owner=2)
    first = store.submit(submission(), shared=True)
    store.submit(submission(), shared=True)
    with pytest.raises(OwnerJobsLimitError) as refused:
        store.submit(submission(), shared=True)
    assert refused.value.retry_after
    store.send_signal(first.id, Signal.CANCEL)
    store.submit(submission(), shared=True)
    claim_job(store)
    store.submit(submission(), shared=True)


def test_a_single_owner_may_use_the_whole_queue(limited: Callable[..., JobStore]) -> None:
    store = limited(capacity=8, per_owner=1, bytes_per_owner=0)
    body, pictures = store_request(UpscaleRequest(image=b"picture"))
    for _ in range(8):
        store.submit(submission(kind=JobKind.UPSCALE, request=body), pictures)
    with pytest.raises(QueueFullError):
        store.submit(submission())


def test_blobs_have_a_size_limit(limited: Callable[..., JobStore], database: Engine) -> None:
    store = limited(bytes_per_owner=2500)
    first = submit_upscaling(store, b"1" * 1000)
    submit_upscaling(store, b"2" * 1000)
    with pytest.raises(
        OwnerBytesLimitError, match="1000 bytes and those of your unfinished jobs 2000; 2500 are"
    ) as refused:
        submit_upscaling(store, b"3" * 1000)
    assert refused.value.retry_after
    submit_upscaling(store, b"3" * 1000, "berta")
    store.submit(submission(), shared=True)  # without pictures
    store.send_signal(first.id, Signal.CANCEL)
    submit_upscaling(store, b"3" * 1000)
    with pytest.raises(OwnerBytesLimitError) as refused:
        submit_upscaling(store, b"4" * 2501, "carla")
    assert refused.value.retry_after is None
    assert stored_blobs(database)[0] == 2000  # the third picture is stored once


def test_a_refused_submission_stores_nothing(limited: Callable[..., JobStore], database: Engine) -> None:
    store = limited(capacity=4, per_owner=3, bytes_per_owner=3_000)
    submit_upscaling(store, b"1" * 1000, idempotency_key="used")
    submit_upscaling(store, b"1" * 1000, idempotency_key="used")
    before, last = stored_blobs(database), store.last_event()
    assert before == (1000, 1, 1)

    def refused(error: type[SafelightError], **fields: object) -> None:
        with pytest.raises(error):
            submit_upscaling(store, b"2" * 1000, **fields)
        assert (stored_blobs(database), store.last_event()) == (before, last)

    refused(IdempotencyConflictError, idempotency_key="used")
    store.submit(submission(), shared=True)
    last = store.last_event()
    refused(OwnerJobsLimitError)
    store.submit(submission("berta"), shared=True)
    store.submit(submission("carla"), shared=True)
    last = store.last_event()
    refused(QueueFullError, owner="dora")


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "cancelled before"])
def test_blobs_are_deleted_with_the_last_job_that_needs_them(
    limited: Callable[..., JobStore], database: Engine, end: str
) -> None:
    store = limited()
    jobs = [submit_upscaling(store, b"shared"), submit_upscaling(store, b"shared", "berta")]
    for job, left in zip(jobs, (6, 0), strict=True):
        if end == "cancelled before":
            store.send_signal(job.id, Signal.CANCEL)
        else:
            running = claim_job(store)
            {
                "succeeded": lambda: store.succeed(running, {}),  # noqa: B023
                "failed": lambda: store.fail(running, SafelightError("It broke.")),  # noqa: B023
                "cancelled": lambda: store.mark_cancelled(running),  # noqa: B023
            }[end]()
        assert stored_blobs(database) == (left, left // 6, left // 6)
    assert [job.request for job in store.find()] == [jobs[0].request] * 2  # the message names the picture


def test_blobs_stay_while_a_job_may_be_retried(limited: Callable[..., JobStore], database: Engine) -> None:
    store = limited()
    submit_upscaling(store, b"needed")
    claim_job(store)
    assert store.reclaim("w1") == 1
    running = claim_job(store)
    assert store.release(running)
    assert stored_blobs(database) == (6, 1, 1)
