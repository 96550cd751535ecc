"""The hub's own responses come from a fake client: tests have no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app

COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds owner/painter."""
    repository = tmp_path / "hub" / "models--owner--painter"
    shutil.copytree(tiny("sd1"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return repository / "snapshots" / COMMIT


def get_hub(client: TestClient, name: str) -> dict[str, Any]:
    answer = client.get("/v1/models/hub", params={"id": name})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_cached_models_are_listed_without_the_network(
    client: TestClient, cache: Path, network_log: Path
) -> None:
    before = network_log.read_text()
    (cache / "safety_checker").mkdir()
    (cache / "safety_checker" / "model.safetensors").touch()
    body = get_hub(client, "owner/painter")
    assert (body["id"], body["present"], body["network"]) == ("owner/painter", True, False)
    names = [file["name"] for file in body["files"]]
    assert {"model_index.json", "unet/diffusion_pytorch_model.safetensors"} <= set(names)
    assert "safety_checker/model.safetensors" not in names
    assert all(file["present"] for file in body["files"])
    assert body["size"] == sum(file["size"] for file in body["files"])
    assert "safelight serve --checkpoint owner/painter" in body["hint"]
    assert network_log.read_text() == before


def test_a_model_that_is_not_cached_names_the_pull_command(client: TestClient, network_log: Path) -> None:
    before = network_log.read_text()
    body = get_hub(client, "owner/other")
    assert (body["present"], body["files"], body["size"]) == (False, [], None)
    assert "safelight models pull owner/other" in body["hint"]
    assert "allow_network" in body["hint"]
    assert network_log.read_text() == before


def test_a_partly_cached_model_is_not_usable(client: TestClient, cache: Path) -> None:
    weights = cache / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to("/nowhere/blob")
    body = get_hub(client, "owner/painter")
    assert (body["present"], body["size"]) == (False, None)
    by_name = {file["name"]: file for file in body["files"]}
    assert by_name["unet/diffusion_pytorch_model.safetensors"] == {
        "name": "unet/diffusion_pytorch_model.safetensors",
        "size": None,
        "present": False,
    }
    assert "models pull" in body["hint"]


@pytest.mark.parametrize("name", ["", "painter", "owner/", "a/b/c", "owner/painter?", "/etc/passwd"])
def test_invalid_hub_ids(client: TestClient, name: str) -> None:
    assert client.get("/v1/models/hub", params={"id": name}).status_code == 422
    assert client.get("/v1/models/hub").status_code == 422


def test_unusual_names_are_not_found(client: TestClient) -> None:
    for name in ("../painter", "--/..", "owner/painter.git"):
        assert get_hub(client, name)["present"] is False


def test_routes_are_for_administrators(people: Callable[[str], TestClient]) -> None:
    assert people("anna").get("/v1/models/hub?id=owner/painter").status_code == 403
    assert people("chief").get("/v1/models/hub?id=owner/painter").status_code == 200


def test_models_are_found_by_name_as_before(client: TestClient) -> None:
    assert client.get("/v1/models/starter").status_code == 200
    assert client.get("/v1/models/hub/more").status_code == 404


@pytest.fixture
def online(open_service: Callable[..., QueueService]) -> Any:
    service = open_service(allow_network=True)
    with app_client(create_app(service, service.settings)) as client:
        yield client


def listing(*files: tuple[str, int]) -> SimpleNamespace:
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files]
    return SimpleNamespace(sha=COMMIT, siblings=siblings)


def test_with_the_network_the_hub_is_queried(online: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    files = (
        ("README.md", 10),
        ("model_index.json", 500),
        ("unet/diffusion_pytorch_model.safetensors", 7000),
        ("unet/diffusion_pytorch_model.fp16.safetensors", 3500),
        ("safety_checker/model.safetensors", 100),
    )
    questions: list[tuple[str, bool]] = []

    def model_info(self: HfApi, name: str, *, files_metadata: bool, timeout: float) -> SimpleNamespace:
        questions.append((name, files_metadata))
        return listing(*files)

    monkeypatch.setattr(HfApi, "model_info", model_info)
    body = get_hub(online, "owner/other")
    assert questions == [("owner/other", True)]
    assert body["files"] == [
        {"name": "model_index.json", "size": 500, "present": False},
        {"name": "unet/diffusion_pytorch_model.safetensors", "size": 7000, "present": False},
    ]
    assert (body["size"], body["network"], body["present"]) == (7500, True, False)
    assert "allow_network is set" in body["hint"]
    here = get_hub(online, "owner/painter")
    assert here["present"]
    assert all(file["present"] for file in here["files"])


def test_models_that_generate_nothing_are_marked(online: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: listing(("model.safetensors", 7)))
    assert "no model_index.json" in get_hub(online, "owner/classifier")["hint"]


def test_a_hub_that_does_not_respond(online: TestClient) -> None:
    answer = online.get("/v1/models/hub?id=owner/other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model.download")
    assert huggingface_hub.__version__  # the real library was called, and has no network here


def test_a_name_that_the_hub_refuses(online: TestClient) -> None:
    answer = online.get("/v1/models/hub?id=owner/--")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "request")
