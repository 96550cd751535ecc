"""All files of weights over HTTP, and the folders in which they are looked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from starlette.testclient import TestClient
from tests.server.conftest import app_client
from tests.tiny.original_layout import write_single_file

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app

QUICKLY = {"scan_interval": 0.05, "start_delay": 0.0, "settled_seconds": 0.0}


@pytest.fixture
def webui(tmp_path: Path, tiny: Callable[[str], Path]) -> Path:
    """Another program's folder with a checkpoint, a pickle and 30 LoRAs."""
    root = tmp_path / "webui"
    (root / "models" / "Stable-diffusion").mkdir(parents=True)
    write_single_file(tiny("sd1"), root / "models" / "Stable-diffusion" / "line.safetensors")
    (root / "models" / "Stable-diffusion" / "old.ckpt").write_bytes(b"x")
    (root / "models" / "Lora").mkdir()
    for number in range(30):
        tensors = {"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(4, 768)}
        save_file(tensors, root / "models" / "Lora" / f"{number:02}.safetensors")
    return root


def names(client: TestClient, **query: object) -> list[str]:
    return [each["name"] for each in client.get("/v1/models/files", params=query).json()["files"]]


def test_a_folder_is_added_used_and_removed_without_a_restart(client: TestClient, webui: Path) -> None:
    own = client.get("/v1/models/folders").json()
    assert own == {"folders": [], "can_change": True, "own": own["own"]}
    assert own["own"].endswith("checkpoints")
    answer = client.post("/v1/models/folders", json={"path": str(webui)})
    assert answer.json() == own | {"folders": [{"path": str(webui), "present": True}]}
    assert "line" in [each["id"] for each in client.get("/v1/models").json()["data"]]
    assert client.get("/sdapi/v1/sd-models").json()[-1]["model_name"] == "line"
    (webui / "models" / "Stable-diffusion" / "old.ckpt").rename(
        webui / "models" / "Stable-diffusion" / "older.ckpt"
    )
    assert names(client, kind="pickle") == ["models/Stable-diffusion/older.ckpt"]
    webui.rename(webui.with_name("away"))
    assert client.get("/v1/models/folders").json()["folders"] == [{"path": str(webui), "present": False}]
    assert "line" not in [each["id"] for each in client.get("/v1/models").json()["data"]]
    refused = client.post("/v1/jobs", json={"kind": "generate", "prompt": "a", "checkpoint": "line"})
    assert refused.json()["error"]["code"] == "checkpoint.missing"
    assert refused.json()["error"]["hint"].startswith("A folder with models cannot be reached now.")
    webui.with_name("away").rename(webui)
    assert "line" in [each["id"] for each in client.get("/v1/models").json()["data"]]
    assert client.delete("/v1/models/folders", params={"path": str(webui)}).json()["folders"] == []
    assert "line" not in [each["id"] for each in client.get("/v1/models").json()["data"]]
    assert (webui / "models" / "Lora").exists()


def test_files_are_filtered_and_come_in_pages(client: TestClient, webui: Path) -> None:
    client.post("/v1/models/folders", json={"path": str(webui)})
    page = client.get("/v1/models/files", params={"text": "LORA/", "limit": 20}).json()
    assert (len(page["files"]), page["total"], page["next"]) == (20, 30, 20)
    page = client.get("/v1/models/files", params={"text": "LORA/", "limit": 20, "start": 20}).json()
    assert (len(page["files"]), page["total"], page["next"]) == (10, 30, None)
    assert page["files"][0]["folder"] == "webui"
    assert page["files"][0]["family"] == "sd1"
    assert names(client, usable=True, text="line") == ["models/Stable-diffusion/line.safetensors"]
    assert names(client, kind="checkpoint") == ["models/Stable-diffusion/line.safetensors"]
    assert names(client, text="nothing") == []
    assert client.get("/v1/models/files", params={"limit": 501}).status_code == 422


def test_paths_are_not_told_to_users(people: Callable[[str], TestClient], webui: Path) -> None:
    (webui / "models" / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    assert people("chief").post("/v1/models/folders", json={"path": str(webui)}).status_code == 200
    answer = people("anna").get("/v1/models/files", params={"text": "cut"})
    assert answer.json()["files"][0]["reason"].startswith("models/cut.safetensors")
    assert str(webui) not in answer.text
    for method in ("GET", "POST", "DELETE"):
        body = {"json": {"path": "/x"}} if method == "POST" else {"params": {"path": "/x"}}
        assert people("anna").request(method, "/v1/models/folders", **body).status_code == 403


@pytest.mark.parametrize(("path", "status"), [("/none/such", 404), ("relative", 400), ("/etc/hosts", 400)])
def test_folders_that_are_refused(client: TestClient, path: str, status: int) -> None:
    assert client.post("/v1/models/folders", json={"path": path}).status_code == status
    assert client.delete("/v1/models/folders", params={"path": path}).status_code == 404
    assert client.get("/v1/models/folders").json()["folders"] == []


def test_hashes_appear_without_being_asked_for(
    open_service: Callable[..., QueueService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "safelight.models.background_digests.BackgroundDigests.__init__.__kwdefaults__", QUICKLY
    )
    service = open_service(hash_models=True)
    with app_client(create_app(service, service.settings)) as client:
        deadline = time.monotonic() + 20
        while (starter := client.get("/sdapi/v1/sd-models").json()[0])["sha256"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert starter["title"] == f"starter [{starter['hash']}]"
        chosen = client.post("/sdapi/v1/options", json={"sd_model_checkpoint": starter["hash"]})
        assert chosen.status_code == 200, chosen.text


@pytest.fixture
def fixed(open_service: Callable[..., QueueService], tmp_path: Path) -> Iterator[TestClient]:
    service = open_service(model_folders=(tmp_path / "fixed",))
    with app_client(create_app(service, service.settings)) as client:
        yield client


def test_a_setting_that_is_fixed_elsewhere_is_not_changed(fixed: TestClient, webui: Path) -> None:
    answer = fixed.post("/v1/models/folders", json={"path": str(webui)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "settings")
    listed = fixed.get("/v1/models/folders").json()
    assert listed["can_change"] is False
    assert [Path(each["path"]).name for each in listed["folders"]] == ["fixed"]
