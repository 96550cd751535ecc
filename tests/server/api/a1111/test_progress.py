from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.server.api.factories import job, output_image, running_job

from safelight.jobs.job import JobKind, JobState
from safelight.server.api.a1111.progress import OwnerQueue, progress_of, status_of, task_of

WAITING = job(JobState.QUEUED, id="2", position=3, eta=40.0)


def test_nothing_is_running() -> None:
    body = progress_of(OwnerQueue.of([]), None, None).model_dump()
    assert (body["progress"], body["eta_relative"], body["current_image"]) == (0.0, 0.0, None)
    assert (body["state"]["job_count"], body["state"]["job"]) == (0, "")
    assert status_of(OwnerQueue(), 5, datetime.now(UTC)).status == "idle"


def test_a_running_job() -> None:
    body = progress_of(OwnerQueue.of([running_job()]), "task(1)", "aGk=").model_dump()
    assert (body["progress"], body["eta_relative"], body["current_task"]) == (0.25, 12.34, "task(1)")
    assert (body["current_image"], body["textinfo"]) == ("aGk=", "first pass")
    state = body["state"]
    assert (state["sampling_step"], state["sampling_steps"]) == (3, 8)
    assert (state["job_no"], state["job_count"], state["job_timestamp"]) == (1, 4, "20260102030405")


def test_running_jobs_come_before_queued_ones_and_the_oldest_first() -> None:
    younger, older = running_job(id="9"), running_job(id="1")
    stand = OwnerQueue.of([WAITING, younger, older])
    assert stand.current is older
    assert stand.waiting == 1
    assert OwnerQueue.of([WAITING]).current is WAITING
    assert OwnerQueue.of([running_job(kind=JobKind.SCAN)]).current is None


def test_a_queued_job_has_its_position() -> None:
    body = progress_of(OwnerQueue.of([WAITING]), None, None)
    assert (body.progress, body.textinfo, body.current_task) == (0.0, "Waiting, place 3 in the queue.", "2")
    assert body.state.job_count == 1, "clients that wait for an idle server go on waiting"


def test_tasks() -> None:
    assert task_of(None).model_dump(include={"active", "queued", "completed"}) == {
        "active": False,
        "queued": False,
        "completed": False,
    }
    now = task_of(running_job())
    assert (now.active, now.queued, now.completed, now.progress, now.eta) == (True, False, False, 0.25, 12.34)
    assert (now.step, now.steps, now.batch_no, now.batch_count) == (3, 8, 1, 4)
    assert task_of(WAITING).queued
    done = task_of(job(JobState.SUCCEEDED, output_image()))
    assert (done.completed, done.progress, done.active) == (True, 1.0, False)


def test_status_for_sd_next() -> None:
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    present = started + timedelta(seconds=10)
    body = status_of(OwnerQueue.of([WAITING, running_job(started=started)]), uptime=99.0, present=present)
    assert (body.status, body.task, body.jobs, body.queued, body.uptime) == (
        "running",
        "generate",
        2,
        1,
        99.0,
    )
    assert (body.elapsed, body.timestamp) == (10.0, present.timestamp())
    assert (body.step, body.steps, body.total, body.progress, body.eta) == (3, 8, 4, 0.25, 12.34)
    assert status_of(OwnerQueue.of([WAITING]), 1, present).status == "queued"
