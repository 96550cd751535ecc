from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.routes.conftest import DRAWING, Bench

from safelight.database import blobs, reading
from safelight.jobs.job import JobKind
from safelight.jobs.service import Service

NOBODYS = "0" * 27


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_drawing_is_queued(client: TestClient, service: Service) -> None:
    answer = client.post("/v1/jobs", json=DRAWING | {"seed": 7, "timeout": 60, "priority": 5})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert client.get(answer.headers["Location"]).json() == job
    kept = service.ledger.get(job["id"])
    assert (kept.kind, kept.priority, kept.timeout, kept.owner) == (JobKind.GENERATE, 5, 60, "local")
    assert kept.request == {"prompt": "a lighthouse", "width": 64, "height": 64, "steps": 1, "seed": 7}
    assert kept.request_id == answer.headers["X-Request-ID"]


def test_pictures_come_in_base64_as_data_uris_and_in_parts(
    client: TestClient, service: Service, photographs: list[Path]
) -> None:
    cat, data = photographs[1], photographs[1].read_bytes()
    uri = f"data:image/jpeg;base64,{text(cat)}"
    fields = json.dumps(DRAWING | {"strength": 0.5})
    answers = [
        client.post("/v1/jobs", json=DRAWING | {"init_image": text(cat), "strength": 0.5}),
        client.post("/v1/jobs", json=DRAWING | {"init_image": uri, "strength": 0.5}),
        client.post("/v1/jobs", data={"request": fields}, files={"init_image": ("cat.jpg", data)}),
        client.post("/v1/jobs", files={"init_image": data, "request": fields.encode()}),
    ]
    requests = [service.ledger.get(answer.json()["id"]).request for answer in answers]
    for request in requests:
        request.pop("seed")
        assert request == requests[0]
    with reading(service.engine) as connection:
        assert blobs.get(connection, requests[0]["init_image"]["blob"]) == data


def test_enlargements_and_scans(client: TestClient, service: Service, photographs: list[Path]) -> None:
    picture = text(photographs[1])
    enlarged = client.post(
        "/v1/jobs", json={"kind": "upscale", "image": picture, "by": 3, "upscaler": "bicubic"}
    )
    scan = client.post("/v1/jobs", json={"kind": "scan", "images": [picture, picture]})
    parts = [("images", path.read_bytes()) for path in photographs]
    form = client.post("/v1/jobs", data={"request": '{"kind": "scan"}'}, files=parts)
    kept = [service.ledger.get(answer.json()["id"]) for answer in (enlarged, scan, form)]
    assert [job.kind for job in kept] == ["upscale", "scan", "scan"]
    assert (kept[0].request["by"], kept[0].request["upscaler"]) == (3, "bicubic")
    assert [len(job.request["images"]) for job in kept[1:]] == [2, 5]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "request.invalid"),
        ({"kind": "dance"}, 422, "request.invalid"),
        ({"kind": "generate"}, 422, "request.invalid"),
        (DRAWING | {"stepz": 3}, 422, "request.invalid"),
        (DRAWING | {"steps": 0}, 422, "request.invalid"),
        (DRAWING | {"strength": 0.5}, 422, "request.invalid"),
        (DRAWING | {"priority": 101}, 422, "request.invalid"),
        (DRAWING | {"timeout": -1}, 422, "request.invalid"),
        (DRAWING | {"init_image": "not base64!"}, 422, "request.picture"),
        (DRAWING | {"init_image": base64.b64encode(b"hello there").decode()}, 415, "image.not_recognised"),
        (DRAWING | {"init_image": "/etc/passwd"}, 422, "request.picture"),
        (DRAWING | {"checkpoint": "../../../etc/passwd"}, 404, "checkpoint.missing"),
        (DRAWING | {"checkpoint": "/etc/passwd"}, 404, "checkpoint.missing"),
        (DRAWING | {"checkpoint": "owner/name"}, 404, "checkpoint.missing"),
        (DRAWING | {"checkpoint": ""}, 404, "checkpoint.missing"),
        (DRAWING | {"hires": {"upscaler": "/tmp/x.safetensors"}}, 404, "upscaler.unknown"),
        ({"kind": "scan", "images": []}, 422, "request.invalid"),
    ],
)
def test_what_cannot_be_done_is_refused(
    client: TestClient, service: Service, body: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert service.ledger.find() == []


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"data": {"request": "no JSON"}, "files": {"image": b"x"}}, 422),
        ({"data": {"request": "[]"}, "files": {"image": b"x"}}, 422),
        ({"data": {"request": "[" * 100_000}, "files": {"image": b"x"}}, 422),
        ({"data": {"prompt": "x"}, "files": {"image": b"x"}}, 422),
        ({"files": [("image", b"x"), ("image", b"y")]}, 422),
        ({"files": {"image": b"no picture"}, "data": {"request": '{"kind": "upscale"}'}}, 415),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"\xff\xd8\xff", "headers": {"Content-Type": "image/jpeg"}}, 415),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b"{"}, 415),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
    ],
)
def test_broken_bodies_are_refused(
    client: TestClient, service: Service, form: dict[str, Any], status: int
) -> None:
    answer = client.post("/v1/jobs", **form)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"]
    assert service.ledger.find() == []


def test_an_idempotency_key_gives_one_job(client: TestClient, service: Service) -> None:
    headers = {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/jobs", json=DRAWING, headers=headers).json() for _ in range(2))
    assert first["id"] == second["id"]
    assert len(service.ledger.find()) == 1
    other = client.post("/v1/jobs", json=DRAWING | {"steps": 2}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "job.idempotency")


def test_only_administrators_go_before_others(people: Callable[[str], TestClient]) -> None:
    refused = people("anna").post("/v1/jobs", json=DRAWING | {"priority": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "job.priority")
    assert people("anna").post("/v1/jobs", json=DRAWING | {"priority": -1}).status_code == 202
    assert people("chief").post("/v1/jobs", json=DRAWING | {"priority": 1}).status_code == 202


def test_jobs_are_listed_page_by_page(client: TestClient, bench: Bench) -> None:
    made = [bench.queue().id for _ in range(5)]
    pages, before = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2} | ({"before": before} if before else {})).json()
        pages.append([job["id"] for job in page["jobs"]])
        if (before := page["next"]) is None:
            break
    assert pages == [made[4:2:-1], made[2:0:-1], made[:1]]


def test_jobs_are_listed_by_state_and_kind(client: TestClient, bench: Bench) -> None:
    done, scan, waiting = bench.finish(), bench.begin(kind=JobKind.SCAN), bench.queue()

    def listed(**query: Any) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["jobs"]]

    assert listed() == [waiting.id, scan.id, done.id]
    assert listed(state="succeeded") == [done.id]
    assert listed(state=["succeeded", "queued"]) == [waiting.id, done.id]
    assert listed(kind="scan") == [scan.id]
    for wrong in ({"state": "odd"}, {"kind": "odd"}, {"limit": 0}, {"limit": 201}, {"before": "odd"}):
        assert client.get("/v1/jobs", params=wrong).status_code == 422


def test_the_jobs_of_others_are_not_there(people: Callable[[str], TestClient], bench: Bench) -> None:
    job = bench.begin("anna")
    paths = [f"/v1/jobs/{job.id}{rest}" for rest in ("", "/events", "/result", "/preview")]
    for path in paths:
        answer = people("berta").get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job.missing"), path
    for rest in ("/finish", "/skip"):
        assert people("berta").post(f"/v1/jobs/{job.id}{rest}").status_code == 404
    assert people("berta").delete(f"/v1/jobs/{job.id}").status_code == 404
    assert people("berta").get("/v1/jobs").json()["jobs"] == []
    for name in ("anna", "chief"):
        assert people(name).get(paths[0]).json()["state"] == "running"
        assert [each["id"] for each in people(name).get("/v1/jobs").json()["jobs"]] == [job.id]


@pytest.mark.parametrize("job_id", [NOBODYS, "x", "..", "%00", "0" * 5000, "../../etc/passwd"])
def test_forged_ids(client: TestClient, job_id: str) -> None:
    for method, rest in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/finish"),
        ("GET", "/result"),
        ("GET", "/events"),
    ):
        assert client.request(method, f"/v1/jobs/{job_id}{rest}").status_code in (404, 405, 422)


def test_signals(client: TestClient, bench: Bench, service: Service) -> None:
    running = bench.begin()
    for method, rest, signal in (
        ("POST", "/skip", "skip"),
        ("POST", "/finish", "finish"),
        ("DELETE", "", "cancel"),
    ):
        answer = client.request(method, f"/v1/jobs/{running.id}{rest}")
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        assert service.ledger.signals([running.id]) == {running.id: signal}
    waiting = bench.queue()
    assert client.delete(f"/v1/jobs/{waiting.id}").json()["state"] == "cancelled"
    again = client.delete(f"/v1/jobs/{waiting.id}")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job.over")
