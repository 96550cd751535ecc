"""Downloads of models over HTTP, from a server on this machine that answers as the hub and CivitAI do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import save
from starlette.testclient import TestClient
from tests.models.hub.fake_source import COMMIT, FakeSource, run_fake_source
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app

LORA = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(64, 2048)})


@pytest.fixture
def source() -> Iterator[FakeSource]:
    with run_fake_source() as source:
        source.add_repository("owner/parts", {"style.safetensors": LORA})
        source.add_civitai("ink.safetensors", LORA)
        yield source


@pytest.fixture
def service(source: FakeSource, open_service: Callable[..., QueueService]) -> QueueService:
    return open_service(hub_url=source.url, civitai_url=source.url)


@pytest.fixture
def client(service: QueueService) -> Iterator[TestClient]:
    with app_client(create_app(service, service.settings)) as client:
        yield client


def wait_until(client: TestClient, pull: dict[str, Any], *states: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = next(
            each for each in client.get("/v1/models/pulls").json()["pulls"] if each["id"] == pull["id"]
        )
        if found["state"] in states:
            return dict(found)
        time.sleep(0.01)
    pytest.fail(f"the download does not get {states}: {found}")


def test_a_model_is_shown_and_then_downloaded(client: TestClient, service: QueueService) -> None:
    offer = client.post("/v1/models/pulls/preview", json={"reference": "owner/parts"}).json()
    assert (offer["reference"], offer["size"], offer["licence"]) == (
        f"owner/parts@{COMMIT}",
        len(LORA),
        "openrail++",
    )
    answer = client.post("/v1/models/pulls", json={"reference": offer["reference"]})
    assert answer.status_code == 202
    done = wait_until(client, answer.json(), "done", "failed")
    assert (done["state"], done["kind"], done["family"], done["done"]) == ("done", "LoRA", "sdxl", len(LORA))
    assert (service.settings.home / "loras" / "style.safetensors").read_bytes() == LORA
    listed = client.get("/v1/models/files", params={"kind": "LoRA"}).json()["files"]
    assert [each["name"] for each in listed] == ["style.safetensors"]
    audit = (service.settings.home / "audit.log").read_text()
    assert '"model.pull"' in audit
    assert '"model.pulled"' in audit


def test_a_failure_is_shown(client: TestClient, source: FakeSource) -> None:
    source.files["/cdn/ink"] = LORA[:-1] + b"x"
    done = wait_until(
        client, client.post("/v1/models/pulls", json={"reference": "civitai:7"}).json(), "done", "failed"
    )
    assert (done["state"], done["error"]["code"]) == ("failed", "model.digest")
    for reference, status, code in (
        ("owner/none", 404, "model.not_at_source"),
        ("nonsense", 422, "model.reference"),
        ("civitai:99", 404, "model.not_at_source"),
    ):
        answer = client.post("/v1/models/pulls", json={"reference": reference})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_download_is_stopped_and_continued(client: TestClient, source: FakeSource) -> None:
    source.faults["/cdn/ink"] = ["stall"]
    half = threading.Event()
    source.on_half = half.set
    pull = client.post("/v1/models/pulls", json={"reference": "civitai:7"}).json()
    assert half.wait(10)
    again = client.post("/v1/models/pulls", json={"reference": "civitai:7@21"}).json()
    assert again["id"] == pull["id"]
    waiting = client.post("/v1/models/pulls", json={"reference": "owner/parts"}).json()
    assert waiting["state"] == "waiting"
    assert client.delete(f"/v1/models/pulls/{waiting['id']}").json()["state"] == "stopped"
    assert client.delete(f"/v1/models/pulls/{pull['id']}").status_code == 200
    source.release.set()
    assert wait_until(client, pull, "stopped", "done", "failed")["state"] == "stopped"
    pull = client.post("/v1/models/pulls", json={"reference": "civitai:7"}).json()
    assert wait_until(client, pull, "done", "failed")["state"] == "done"
    assert source.ranges("/cdn/ink")[-1] == f"bytes={len(LORA) // 2}-"
    assert client.delete("/v1/models/pulls/none").status_code == 404


def test_the_end_of_the_server_does_not_wait_for_a_download(
    service: QueueService, source: FakeSource
) -> None:
    source.faults["/cdn/ink"] = ["stall"]
    half = threading.Event()
    source.on_half = half.set
    with app_client(create_app(service, service.settings)) as client:
        client.post("/v1/models/pulls", json={"reference": "civitai:7"})
        assert half.wait(10)
        began = time.monotonic()
    assert time.monotonic() - began < 10


def test_routes_are_for_administrators(people: Callable[[str], TestClient]) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("POST", "/preview"), ("DELETE", "/x")):
        body = {"json": {"reference": "owner/parts"}} if method == "POST" else {}
        assert people("anna").request(method, f"/v1/models/pulls{path}", **body).status_code == 403
