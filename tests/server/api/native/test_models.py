from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.generation.solvers.registry import SAMPLERS
from safelight.jobs.queue_service import QueueService
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.moderation.classifiers.open_nsfw import WEIGHTS_SHA256
from safelight.server.app import create_app

OPENAI = {"id", "object", "created", "owned_by"}


def test_the_list_of_models(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    by_id = {model["id"]: model for model in body["data"]}
    assert len(by_id) == len(body["data"])
    for model in body["data"]:
        assert model.keys() >= OPENAI
        assert model["object"] == "model"
    assert by_id["starter"]["default"]
    assert (by_id["starter"]["kind"], by_id["starter"]["loaded_by"]) == ("checkpoint", [])
    assert by_id["starter"]["size"] > 1e6
    assert by_id["open-nsfw"]["digest"] == WEIGHTS_SHA256
    assert by_id["lanczos"]["kind"] == "upscaler"
    for kind in ("checkpoint", "classifier", "upscaler"):
        listed = client.get("/v1/models", params={"kind": kind}).json()["data"]
        assert listed == [model for model in body["data"] if model["kind"] == kind] != []
    assert client.get("/v1/models?kind=odd").status_code == 422


def test_a_single_model(client: TestClient, service: QueueService) -> None:
    folder = service.settings.home / "checkpoints" / "mine" / "red apples"
    shutil.copytree(
        STARTER_PATH, folder, copy_function=lambda source, target: Path(target).symlink_to(source)
    )
    found = client.get("/v1/models/mine/red apples").json()
    assert (found["id"], found["owned_by"], found["default"]) == ("mine/red apples", "user", False)
    assert client.post(
        "/v1/jobs", json={"kind": "generate", "prompt": "x", "checkpoint": "mine/red apples"}
    ).is_success
    for missing in ("nothing", "../../etc/passwd", "%2e%2e/x", "starter/unet"):
        answer = client.get(f"/v1/models/{missing}")
        assert answer.status_code == 404, answer.url


def test_paths_are_not_disclosed(open_service: Callable[..., QueueService], tmp_path: Path) -> None:
    """The configured checkpoint may be a path: clients see its last part, and may use that as its name."""
    secret = tmp_path / "secret-folder" / "apples"
    shutil.copytree(
        STARTER_PATH, secret, copy_function=lambda source, target: Path(target).symlink_to(source)
    )
    service = open_service(checkpoint=str(secret))
    with app_client(create_app(service, service.settings)) as client:
        models = client.get("/v1/models")
        assert [model["id"] for model in models.json()["data"] if model["default"]] == ["apples", "open-nsfw"]
        answer = client.post("/v1/jobs", json={"kind": "generate", "prompt": "x", "checkpoint": "apples"})
        assert "checkpoint" not in answer.json()["request"]
        for text in (models.text, client.get("/v1/system").text):
            assert "secret-folder" not in text
            assert str(service.settings.home) not in text


def test_checkpoints_in_memory_by_worker(client: TestClient, service: QueueService) -> None:
    description = {
        "host": "h",
        "pid": 1,
        "device": "cpu",
        "state": "idle",
        "checkpoints": ["starter"],
        "memory": 1.0,
        "started": datetime.fromtimestamp(0, UTC),
    }
    for name in ("one", "two"):
        service.register_worker(name, description)
    assert client.get("/v1/models/starter").json()["loaded_by"] == ["one", "two"]
    assert [worker["name"] for worker in client.get("/v1/system").json()["workers"]] == ["one", "two"]


def test_samplers_and_schedules(client: TestClient) -> None:
    rows = client.get("/v1/samplers").json()["samplers"]
    assert rows == json.loads(json.dumps([sampler.to_dict() for sampler in SAMPLERS.values()]))
    flow = client.get("/v1/samplers?kind=flow").json()["samplers"]
    assert flow == [row for row in rows if "flow" in row["kinds"]] != rows
    schedules = {row["name"]: row["kinds"] for row in client.get("/v1/schedules").json()["schedules"]}
    assert schedules["karras"] == ["diffusion", "edm", "flow"]
    assert set(schedules) == {name for row in rows for name in row["schedules"]}
    only = client.get("/v1/schedules?kind=edm").json()["schedules"]
    assert {row["name"] for row in only} == {name for name, kinds in schedules.items() if "edm" in kinds}


def test_styles(client: TestClient, service: QueueService) -> None:
    assert client.get("/v1/styles").json() == {"styles": []}
    folder = service.settings.home / "styles"
    folder.mkdir()
    (folder / "mine.json").write_text('{"name": "ink", "prompt": "{prompt}, ink"}')
    styles = client.get("/v1/styles").json()["styles"]
    assert styles == [{"name": "ink", "prompt": "{prompt}, ink", "negative_prompt": ""}]
    (folder / "mine.json").write_text("{")
    assert client.get("/v1/styles").json()["error"]["code"] == "prompt"
