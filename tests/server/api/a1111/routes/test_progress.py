from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from safelight.jobs.job import Job, JobKind, JobState, Progress, Signal, Submission
from safelight.jobs.queue_service import QueueService

PROGRESS = Progress(stage="first pass", step=3, steps=8, picture=1, pictures=4, fraction=0.25)


def submit_job(service: QueueService, owner: str = "local") -> Job:
    request: dict[str, Any] = {"prompt": "a cat", "seed": 1}
    return service.store.submit(Submission(kind=JobKind.GENERATE, request=request, owner=owner))


def start_job(service: QueueService, owner: str = "local", preview: bytes | None = None) -> Job:
    """A job that a worker has started, with progress."""
    submit_job(service, owner)
    job = service.store.claim("by-hand")
    assert job is not None
    service.store.report(job, PROGRESS, preview)
    return job


def record_progress(service: QueueService, job: Job) -> Signal | None:
    return service.store.signals([job.id]).get(job.id)


def webp(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "WEBP")
    return out.getvalue()


def test_nothing_is_running(client: TestClient) -> None:
    answer = client.get("/sdapi/v1/progress").json()
    assert (answer["progress"], answer["state"]["job_count"]) == (0.0, 0)
    assert client.get("/internal/pending-tasks").json() == {"size": 0, "tasks": []}
    assert client.get("/internal/ping").json() == {}


def test_the_clients_job_with_its_preview(client: TestClient, service: QueueService) -> None:
    job = start_job(service, preview=webp())
    answer = client.get("/sdapi/v1/progress").json()
    assert (answer["progress"], answer["id"], answer["current_task"]) == (0.25, job.id, job.id)
    assert answer["state"]["sampling_step"] == 3
    assert Image.open(io.BytesIO(base64.b64decode(answer["current_image"]))).format == "PNG"
    assert client.get("/sdapi/v1/progress?skip_current_image=true").json()["current_image"] is None


def test_jobs_of_other_owners_are_hidden(client: TestClient, service: QueueService) -> None:
    job = start_job(service, owner="somebody")
    assert client.get("/sdapi/v1/progress").json()["id"] == ""
    assert client.get(f"/sdapi/v1/progress?id_task={job.id}").json()["id"] == ""
    assert client.post("/internal/progress", json={"id_task": job.id}).json()["active"] is False
    assert client.get("/internal/pending-tasks").json()["size"] == 0
    assert client.get("/sdapi/v1/status").json()["jobs"] == 0


def test_a_queued_job_is_shown_as_queued(client: TestClient, service: QueueService) -> None:
    submit_job(service, "somebody")
    job = submit_job(service)
    answer = client.get("/sdapi/v1/progress").json()
    assert (answer["id"], answer["textinfo"]) == (job.id, "Waiting, place 2 in the queue.")
    task = client.post("/internal/progress", json={"id_task": job.id}).json()
    assert (task["queued"], task["active"]) == (True, False)
    assert client.get("/internal/pending-tasks").json() == {"size": 1, "tasks": [job.id]}
    assert client.get("/sdapi/v1/status").json()["status"] == "queued"


def test_a_preview_is_sent_once(client: TestClient, service: QueueService) -> None:
    job = start_job(service, preview=webp())
    question = {"id_task": job.id, "id_live_preview": -1}
    first = client.post("/internal/progress", json=question).json()
    assert first["live_preview"].startswith("data:image/png;base64,")
    again = client.post(
        "/internal/progress", json=question | {"id_live_preview": first["id_live_preview"]}
    ).json()
    assert again["live_preview"] is None
    service.store.report(job, PROGRESS, webp("blue"))
    newer = client.post(
        "/internal/progress", json=question | {"id_live_preview": first["id_live_preview"]}
    ).json()
    assert newer["live_preview"] not in (None, first["live_preview"])
    without = client.post("/internal/progress", json=question | {"live_preview": False}).json()
    assert without["live_preview"] is None


def test_without_an_id_the_running_job_is_shown(client: TestClient, service: QueueService) -> None:
    job = start_job(service)
    answer = client.post("/internal/progress", json={}).json()
    assert (answer["active"], answer["job"], answer["step"], answer["batch_count"]) == (True, job.id, 3, 4)


@pytest.mark.parametrize(("path", "signal"), [("interrupt", Signal.FINISH), ("skip", Signal.SKIP)])
def test_interrupt_stops_only_the_clients_running_jobs(
    client: TestClient, service: QueueService, path: str, signal: Signal
) -> None:
    mine, others = start_job(service), start_job(service, "somebody")
    waiting = submit_job(service)
    assert client.post(f"/sdapi/v1/{path}").json() == {}
    assert record_progress(service, mine) is signal
    assert record_progress(service, others) is None
    assert service.store.get(waiting.id).state is JobState.QUEUED


def test_a_job_without_pictures_ignores_skip(client: TestClient, service: QueueService) -> None:
    service.store.submit(Submission(kind=JobKind.UPSCALE, request={}, owner="local"))
    job = service.store.claim("by-hand")
    assert job is not None
    assert client.post("/sdapi/v1/skip").status_code == 200
    assert record_progress(service, job) is None


def test_one_task_is_stopped_by_its_id(client: TestClient, service: QueueService) -> None:
    first, second, others = start_job(service), start_job(service), start_job(service, "somebody")
    waiting = submit_job(service)
    for job in (second, waiting, others):
        assert client.post(f"/sdapi/v1/interrupt?id_task={job.id}").status_code == 200
    assert [record_progress(service, job) for job in (first, second, others)] == [None, Signal.FINISH, None]
    assert service.store.get(waiting.id).state is JobState.CANCELLED


def test_stopping_an_ended_job_does_nothing(client: TestClient, service: QueueService) -> None:
    job = start_job(service)
    service.store.succeed(job, {"pictures": []}, 1.0)
    assert client.post(f"/sdapi/v1/interrupt?id_task={job.id}").status_code == 200
    assert client.post("/sdapi/v1/interrupt?id_task=task(unknown)").status_code == 200


def test_status_for_sd_next(client: TestClient, service: QueueService) -> None:
    job = start_job(service)
    submit_job(service)
    answer = client.get("/sdapi/v1/status").json()
    assert (answer["status"], answer["id"], answer["jobs"], answer["queued"]) == ("running", job.id, 2, 1)
    assert answer["uptime"] > 0
