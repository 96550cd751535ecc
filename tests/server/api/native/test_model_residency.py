from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.server.app import create_app

WORKER = {
    "host": "h",
    "pid": 1,
    "device": "cpu",
    "state": "idle",
    "checkpoints": ["starter", "gone"],
    "memory": 1.0,
    "started": datetime.fromtimestamp(0, UTC),
}
LOAD, UNLOAD = "/v1/models/load", "/v1/models/unload"


def sent_commands(service: QueueService) -> list[tuple[bool, str | None]]:
    return [(order.load, order.checkpoint) for order in service.commands(0)]


def copy_starter(folder: Path) -> None:
    shutil.copytree(
        STARTER_PATH, folder, copy_function=lambda source, target: Path(target).symlink_to(source)
    )


def test_commands_to_load_and_unload_reach_workers(client: TestClient, service: QueueService) -> None:
    for name in ("one", "two"):
        service.register_worker(name, WORKER)
    copy_starter(service.settings.home / "checkpoints" / "mine" / "apples")
    answer = client.post(LOAD, json={"checkpoint": "mine/apples"})
    assert answer.status_code == 202
    assert answer.json() == {"checkpoint": "mine/apples", "workers": ["one", "two"]}
    assert sent_commands(service) == [(True, "mine/apples")]
    assert client.post(UNLOAD, json={"checkpoint": "starter"}).status_code == 202
    assert sent_commands(service) == [(True, "mine/apples"), (False, "starter")]
    assert client.post(UNLOAD, json={"checkpoint": None}).json()["checkpoint"] is None
    assert sent_commands(service) == [(False, None)]
    noted = [json.loads(line) for line in (service.settings.home / "audit.log").read_text().splitlines()]
    assert [(each["event"], each["checkpoint"]) for each in noted] == [
        ("checkpoint.load", "mine/apples"),
        ("checkpoint.unload", "starter"),
        ("checkpoint.unload", None),
    ]


def test_unknown_checkpoints_are_refused_at_once(client: TestClient, service: QueueService) -> None:
    service.register_worker("one", WORKER)
    for name in ("nothing", "../../etc", "owner/name", ""):
        for path in (LOAD, UNLOAD):
            answer = client.post(path, json={"checkpoint": name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "checkpoint.missing")
    assert sent_commands(service) == []
    assert (
        client.post(UNLOAD, json={"checkpoint": "gone"}).status_code == 202
    )  # its files are gone, it is in memory
    for body in ({}, {"checkpoint": 1}, {"checkpoint": "starter", "more": 1}):
        assert client.post(UNLOAD, json=body).status_code == 422
    assert client.post(LOAD, json={"checkpoint": None}).status_code == 422


def test_without_a_worker_it_is_refused(client: TestClient, service: QueueService) -> None:
    for path in (LOAD, UNLOAD):
        answer = client.post(path, json={"checkpoint": "starter"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "worker.missing")
    assert sent_commands(service) == []


def test_it_is_for_administrators(people: Callable[[str], TestClient], service: QueueService) -> None:
    service.register_worker("one", WORKER)
    for path in (LOAD, UNLOAD):
        assert people("anna").post(path, json={"checkpoint": "starter"}).status_code == 403
        assert people("chief").post(path, json={"checkpoint": "starter"}).status_code == 202


def test_the_configured_checkpoint_is_named_without_its_folder(
    open_service: Callable[..., QueueService], tmp_path: Path
) -> None:
    secret = tmp_path / "secret-folder" / "apples"
    copy_starter(secret)
    service = open_service(checkpoint=str(secret))
    failure = {"code": "memory.budget", "message": f"{secret} is too large.", "checkpoint": "x", "time": 1.0}
    told = {"checkpoints": [str(secret)], "loading": str(secret), "last_error": failure}
    service.register_worker("one", WORKER | told)
    with app_client(create_app(service, service.settings)) as client:
        assert client.post(LOAD, json={"checkpoint": "apples"}).json()["checkpoint"] == "apples"
        assert sent_commands(service) == [(True, str(secret))]
        (worker,) = client.get("/v1/system").json()["workers"]
        assert (worker["checkpoints"], worker["loading"]) == (["apples"], "apples")
        assert client.get("/v1/models/apples").json()["loaded_by"] == ["one"]


@pytest.mark.parametrize(("name", "seen"), [("chief", True), ("anna", False)])
def test_loading_errors_are_shown_to_administrators_only(
    people: Callable[[str], TestClient], service: QueueService, name: str, seen: bool
) -> None:
    failure = {"code": "memory.budget", "message": "Too large.", "checkpoint": "x", "time": 1.0}
    service.register_worker("one", WORKER | {"last_error": failure, "why": "Because.", "precision": "fp32"})
    (worker,) = people(name).get("/v1/system").json()["workers"]
    assert (worker["why"], worker["precision"]) == ("Because.", "fp32")
    expected = failure | {"field": "", "context": {}, "hint": "", "time": "1970-01-01T00:00:01Z"}
    assert worker["last_error"] == (expected if seen else None)
