"""A job kind of a plug-in goes through the real queue, from its fields to its result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from safelight.errors import (
    DuplicateNameError,
    JobKindUnknownError,
    JobNotSkippableError,
    RequestError,
)
from safelight.generation.request import RequestPart
from safelight.images.fields import ImageField
from safelight.images.types import DecodeLimits
from safelight.jobs.cost import JobSize
from safelight.jobs.job import JobState, Signal, Submission
from safelight.jobs.payloads import parse_request, store_request
from safelight.jobs.queue_service import prepare_database
from safelight.jobs.result import JobResult, PictureVerdict
from safelight.jobs.task import TASKS, Task
from safelight.jobs.tasks import JobContext
from safelight.jobs.worker.process import Worker
from safelight.jobs.worker.running_job import RunningJob
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.settings import Settings


class CountRequest(RequestPart):
    """A picture whose bytes are counted."""

    image: Annotated[bytes, ImageField()]
    times: int = Field(1, ge=1, le=9)


def count_size(request: CountRequest, limits: DecodeLimits) -> JobSize:
    return JobSize(1, 0, float(request.times))


def count(context: JobContext, running: RunningJob, request: CountRequest) -> JobResult:
    note = f"{len(request.image) * request.times} bytes"
    return JobResult.from_verdicts([PictureVerdict(index=0, decision="allow", notes=(note,))])


class Toy:
    """A plug-in with one job kind."""

    def __init__(self, kind: str = "count") -> None:
        self.kind = kind

    @hookimpl
    def register_tasks(self, registry: Registry[Task[Any]]) -> None:
        registry.register(self.kind, Task(self.kind, CountRequest, count_size, count, batch_by=("times",)))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    settings = Settings(home=tmp_path)
    prepare_database(settings)
    made = Worker(settings, "w")
    yield made
    made.close()


def submit(worker: Worker, **fields: Any) -> str:
    """Queue a toy job as the server does; returns its id."""
    request = parse_request("count", fields)
    size = TASKS["count"].size(request, DecodeLimits())
    body, images = store_request(request)
    submission = Submission(kind="count", request=body, cost=size.cost)
    return worker._service.store.submit(submission, images).id


def run_next(worker: Worker) -> None:
    """Do the next job as the worker's threads do."""
    job = worker._service.store.claim("w")
    assert job is not None
    running = RunningJob(job, worker._service.store)
    worker._running_jobs.add(running)
    worker._job_runner.run(running)


def test_it_is_queued_done_and_read(worker: Worker) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        job_id = submit(worker, image=b"12345", times=3)
        (queued,) = worker._service.store.find(kind="count")
        assert (queued.id, queued.state) == (job_id, JobState.QUEUED)
        run_next(worker)
    done = worker._service.store.get(job_id)
    assert done.state is JobState.SUCCEEDED
    assert done.result is not None
    assert JobResult.parse(done.result).verdicts[0].notes == ("15 bytes",)


def test_its_request_is_checked() -> None:
    with PLUGINS.registered(Toy(), "toy"), pytest.raises(RequestError, match="times"):
        parse_request("count", {"image": b"1", "times": 10})


def test_it_has_nothing_to_skip(worker: Worker) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        job_id = submit(worker, image=b"1")
        with pytest.raises(JobNotSkippableError):
            worker._service.store.send_signal(job_id, Signal.SKIP)


def test_jobs_run_together_that_agree_in_the_named_fields(worker: Worker) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        one, other, third = (
            worker._service.store.get(submit(worker, image=b"1", times=times)) for times in (1, 1, 2)
        )
        task = TASKS["count"]
    assert task.can_share_batch(one, other)
    assert not task.can_share_batch(one, third)
    assert not TASKS["scan"].can_share_batch(one, other)


def test_without_its_plugin_a_queued_job_fails_and_says_why(worker: Worker) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        job_id = submit(worker, image=b"1")
    with pytest.raises(JobNotSkippableError):
        worker._service.store.send_signal(job_id, Signal.SKIP)
    run_next(worker)
    job = worker._service.store.get(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("job.kind", "There is no job kind 'count'.")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(JobKindUnknownError) as caught:
        parse_request("generat", {})
    assert caught.value.hint.startswith("Did you mean generate?")


def test_a_built_in_name_is_taken() -> None:
    with PLUGINS.registered(Toy("scan"), "toy"), pytest.raises(DuplicateNameError, match="'scan' of toy"):
        len(TASKS)
