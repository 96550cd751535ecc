from __future__ import annotations

import json
from collections.abc import Callable

import psutil
import pytest
from starlette.testclient import TestClient
from tests.server.api.manual_worker import add_entry, run_worker

from safelight import __version__
from safelight.jobs.job import JobKind, Signal, Submission
from safelight.jobs.queue_service import QueueService
from safelight.models.checkpoints.discovery import STARTER_PATH


def test_the_version_names_safelight_and_the_api(standing: TestClient) -> None:
    assert standing.get("/sdapi/v1/version").json()["app"] == "safelight"
    told = standing.get("/sdapi/v2/system-info").json()
    assert told["version"]["app"] == "sd.next", "what its clients look for"
    assert told["version"]["server"] == f"Safelight {__version__}"
    assert told["version"]["commit"]
    assert told["platform"]["torch"]


def test_memory_of_the_machine(standing: TestClient) -> None:
    found = standing.get("/sdapi/v1/memory").json()
    assert found["ram"]["total"] == psutil.virtual_memory().total
    assert found["ram"]["used"] + found["ram"]["free"] == found["ram"]["total"]
    assert "error" in found["cuda"]


def test_command_line_flags_hold_no_secrets(client: TestClient, service: QueueService) -> None:
    found = client.get("/sdapi/v1/cmd-flags").json()
    assert (found["api"], found["listen"], found["ckpt"]) == (True, False, "starter")
    assert str(service.settings.home) not in json.dumps(found)
    assert not any("auth" in name or "key" in name for name in found)


def test_history_is_the_clients_own(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        drawn = json.loads(client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}).json()["info"])
    other = Submission(kind=JobKind.GENERATE, request={"prompt": "x", "seed": 1}, owner="somebody")
    service.store.submit(other)
    running = service.store.claim("by-hand")
    assert running is not None
    service.store.succeed(running, {"pictures": [{"url": add_entry(service, running).id}]}, 1.0)
    (item,) = client.get("/sdapi/v1/history").json()
    assert (item["id"], item["job"], item["op"]) == (drawn["job_id"], "generate", "succeeded")
    assert item["outputs"] == [f"/v1/gallery/{drawn['picture_ids'][0]}/file"]
    assert item["duration"] >= 0
    assert client.get(f"/sdapi/v1/history?id={running.id}").json() == []


def test_history_finds_an_old_job_behind_many_others(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        drawn = json.loads(client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}).json()["info"])
    for _ in range(3):
        scan = Submission(kind=JobKind.SCAN, request={"images": []}, owner="local")
        service.store.send_signal(service.store.submit(scan).id, Signal.CANCEL)
    assert [each["id"] for each in client.get("/sdapi/v1/history?limit=1").json()] == [drawn["job_id"]]
    with run_worker(service):
        newer = json.loads(client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}).json()["info"])
    for name in (drawn["job_id"], newer["job_id"]):
        (item,) = client.get(f"/sdapi/v1/history?limit=1&id={name}").json()
        assert item["id"] == name


def test_unloading_is_for_administrators(people: Callable[[str], TestClient], service: QueueService) -> None:
    assert people("anna").post("/sdapi/v1/unload-checkpoint").status_code == 403
    assert service.last_command() == 0
    assert people("chief").post("/sdapi/v1/unload-checkpoint").status_code == 200
    assert [(order.load, order.checkpoint) for order in service.commands(0)] == [(False, None)]
    noted = json.loads((service.settings.home / "audit.log").read_text().splitlines()[-1])
    assert (noted["event"], noted["checkpoint"], noted["owner"]) == ("checkpoint.unload", None, "chief")


def test_the_log_has_its_last_lines(client: TestClient, service: QueueService) -> None:
    with run_worker(service):
        client.post("/sdapi/v1/txt2img", json={"prompt": "a secret cat"})
        client.post("/sdapi/v1/txt2img", json={"prompt": "a secret cat"})
    lines = client.get("/sdapi/v1/log?lines=1").json()
    assert len(lines) == 1
    assert json.loads(lines[0])["event"] == "job.submitted"
    assert "secret" not in lines[0]


@pytest.mark.parametrize(
    "path", ["refresh-checkpoints", "refresh-loras", "refresh-embeddings", "refresh-vae", "reload-checkpoint"]
)
def test_refresh_routes_do_nothing(standing: TestClient, path: str) -> None:
    assert standing.post(f"/sdapi/v1/{path}").json() == {}


def test_only_administrators_read_the_log_and_see_paths(people: Callable[[str], TestClient]) -> None:
    assert people("anna").get("/sdapi/v1/log").status_code == 403
    assert people("anna").get("/sdapi/v1/sd-models").json()[0]["filename"] == "starter"
    assert people("chief").get("/sdapi/v1/log").json()
    assert people("chief").get("/sdapi/v1/sd-models").json()[0]["filename"] == str(STARTER_PATH.resolve())


def test_names_and_keys_of_basic_authentication(people: Callable[[str], TestClient]) -> None:
    client = people("anna")
    key = client.headers.pop("Authorization").removeprefix("Bearer ")
    assert client.get("/sdapi/v1/memory", auth=("anna", key)).status_code == 200
    refused = client.get("/sdapi/v1/memory", auth=("anna", "wrong"))
    assert (refused.status_code, set(refused.json())) == (401, {"error", "detail", "errors"})
