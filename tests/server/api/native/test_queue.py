from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.api.conftest import JobDriver

from safelight.jobs.job import Signal
from safelight.jobs.queue_service import QueueService

NOBODYS = "0" * 27
People = Callable[[str], TestClient]


def test_the_queue_is_paused_and_resumed(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    running, queued = bench.start(), bench.submit()
    before = client.get("/v1/queue").json()
    assert (before["paused"], before["paused_since"], before["paused_by"]) == (False, None, None)
    paused = client.post("/v1/queue/pause").json()
    assert (paused["paused"], paused["paused_by"]) == (True, "local")
    assert paused["paused_since"] is not None
    assert client.get("/v1/queue").json() == paused
    assert (paused["queued"], paused["running"]) == (1, 1)
    assert paused["jobs"] == [
        {"id": running.id, "state": "running", "position": None, "eta": None},
        {"id": queued.id, "state": "queued", "position": 1, "eta": None},
    ]
    assert service.store.claim("bench") is None
    assert client.get("/v1/system").json()["queue_paused"]
    assert "safelight_queue_paused 1.0" in client.get("/metrics").text
    assert client.post("/v1/queue/resume").json() == before
    assert service.store.claim("bench") is not None
    lines = [json.loads(line) for line in (service.settings.home / "audit.log").read_text().splitlines()]
    assert [(line["event"], line["owner"]) for line in lines] == [
        ("queue.paused", "local"),
        ("queue.resumed", "local"),
    ]


def test_only_administrators_pause_and_resume(people: People, service: QueueService) -> None:
    for action in ("pause", "resume"):
        answer = people("anna").post(f"/v1/queue/{action}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "denied.role")
    assert people("chief").post("/v1/queue/pause").json()["paused_by"] == "chief"
    seen = people("anna").get("/v1/queue").json()
    assert (seen["paused"], seen["paused_by"]) == (True, None)
    service.store.resume()


def test_users_see_their_own_jobs_in_the_queue(people: People, bench: JobDriver) -> None:
    theirs, own = bench.submit("berta"), bench.submit("anna")
    seen = people("anna").get("/v1/queue").json()
    assert (seen["queued"], [(job["id"], job["position"]) for job in seen["jobs"]]) == (2, [(own.id, 2)])
    everything = people("chief").get("/v1/queue").json()["jobs"]
    assert [job["id"] for job in everything] == [theirs.id, own.id]


def test_a_user_moves_their_own_jobs(people: People, bench: JobDriver) -> None:
    first, second, third = (bench.submit("anna") for _ in range(3))
    theirs = bench.submit("berta")

    def move(name: str, job_id: str, before: str | None) -> tuple[int, Any]:
        answer = people(name).post(f"/v1/jobs/{job_id}/move", json={"before": before})
        return answer.status_code, (answer.json().get("error") or {}).get("code")

    assert people("anna").post(f"/v1/jobs/{third.id}/move", json={"before": first.id}).json()["position"] == 1
    assert move("anna", theirs.id, None) == (404, "job.missing")
    assert move("anna", first.id, theirs.id) == (404, "job.missing")
    assert move("chief", first.id, theirs.id) == (409, "job.move")
    assert move("chief", first.id, None) == (200, None)
    assert move("anna", NOBODYS, None) == (404, "job.missing")
    assert move("anna", first.id, "nonsense") == (422, "request.pattern")
    assert people("anna").post(f"/v1/jobs/{first.id}/move", json={}).status_code == 422
    queue = people("anna").get("/v1/queue").json()["jobs"]
    assert [job["id"] for job in queue] == [third.id, second.id, first.id]
    people("anna").delete(f"/v1/jobs/{first.id}")
    assert move("anna", first.id, None) == (409, "job.not_queued")


def test_several_jobs_are_cancelled(people: People, bench: JobDriver, service: QueueService) -> None:
    running, ended = bench.start("anna"), bench.submit("anna")
    service.store.send_signal(ended.id, Signal.CANCEL)
    queued, theirs = bench.submit("anna"), bench.submit("berta")
    ids = [running.id, ended.id, queued.id, theirs.id, NOBODYS]
    found = people("anna").post("/v1/jobs/cancel", json={"ids": ids}).json()["jobs"]
    assert {each["id"]: each["outcome"] for each in found} == {
        running.id: "stopping",
        ended.id: "ended",
        queued.id: "cancelled",
        theirs.id: "missing",
        NOBODYS: "missing",
    }
    found = people("chief").post("/v1/jobs/cancel", json={"ids": [theirs.id]}).json()["jobs"]
    assert found == [{"id": theirs.id, "outcome": "cancelled"}]


def test_all_own_queued_jobs_are_cancelled(people: People, bench: JobDriver, service: QueueService) -> None:
    own, theirs = [bench.submit("anna") for _ in range(3)], bench.submit("berta")
    assert people("chief").post("/v1/jobs/cancel", json={"state": "queued"}).json() == {"jobs": []}
    found = people("anna").post("/v1/jobs/cancel", json={"state": "queued"}).json()["jobs"]
    assert [each["id"] for each in found] == [job.id for job in own]
    assert service.store.get(theirs.id).position == 1


@pytest.mark.parametrize(
    "body", [{}, {"ids": []}, {"state": "running"}, {"ids": ["x"]}, {"ids": [NOBODYS], "state": "queued"}]
)
def test_invalid_cancellations(client: TestClient, bench: JobDriver, body: dict[str, Any]) -> None:
    job = bench.submit()
    assert client.post("/v1/jobs/cancel", json=body).status_code == 422
    assert client.get(f"/v1/jobs/{job.id}").json()["state"] == "queued"


def test_no_more_jobs_are_named_than_allowed(client: TestClient) -> None:
    ids = [f"{number:027x}" for number in range(1001)]
    assert client.post("/v1/jobs/cancel", json={"ids": ids}).status_code == 422
    assert len(client.post("/v1/jobs/cancel", json={"ids": ids[1:]}).json()["jobs"]) == 1000


def test_ended_jobs_are_cleared_from_the_lists(people: People, bench: JobDriver) -> None:
    done, theirs = bench.finish("anna", {"number": 1}), bench.finish("berta", {"number": 2})
    assert people("chief").post("/v1/jobs/clear", json={}).json() == {"cleared": 0}
    assert people("anna").post("/v1/jobs/clear", json={"ids": [theirs.id]}).json() == {"cleared": 0}
    assert people("anna").post("/v1/jobs/clear", json={}).json() == {"cleared": 1}
    assert people("anna").get("/v1/jobs").json()["jobs"] == []
    assert people("anna").get(f"/v1/jobs/{done.id}").json()["state"] == "succeeded"
    assert len(people("anna").get("/v1/gallery").json()["entries"]) == 1
    assert [job["id"] for job in people("chief").get("/v1/jobs").json()["jobs"]] == [theirs.id]
    assert people("chief").post("/v1/jobs/clear", json={"ids": [theirs.id]}).json() == {"cleared": 1}
