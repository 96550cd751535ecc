"""Uploads of files of weights: where they go, and that what is refused leaves nothing behind."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from starlette.testclient import TestClient
from tests.tiny.original_layout import write_single_file

from safelight.jobs.queue_service import QueueService
from safelight.models.digests import file_digest

LORA = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(4, 768)})


@pytest.fixture
def home(service: QueueService) -> Path:
    return service.settings.home


def upload(client: TestClient, name: str, data: bytes) -> tuple[int, dict[str, object]]:
    """The status, and the file or the error."""
    answer = client.post("/v1/models/uploads", params={"name": name}, content=data)
    body = answer.json()
    return answer.status_code, body.get("error", body)


def files_in(home: Path) -> set[str]:
    folders = ("checkpoints", "loras", "vae", "upscalers", "embeddings", "text_encoders")
    found = [path for folder in folders for path in (home / folder).rglob("*") if path.is_file()]
    return {path.relative_to(home).as_posix() for path in found}


def test_a_file_goes_where_its_content_belongs(
    client: TestClient, tmp_path: Path, tiny: Callable[[str], Path], home: Path
) -> None:
    status, found = upload(client, "ink.safetensors", LORA)
    assert (status, found["kind"], found["folder"], found["family"]) == (201, "LoRA", "loras", "sd1")
    assert (home / "loras" / "ink.safetensors").read_bytes() == LORA
    write_single_file(tiny("sd1"), tmp_path / "line.safetensors")
    status, found = upload(client, "line.safetensors", (tmp_path / "line.safetensors").read_bytes())
    assert (status, found["folder"], found["usable"]) == (201, "checkpoints", True)
    assert "line" in [each["id"] for each in client.get("/v1/models").json()["data"]]
    assert files_in(home) == {"loras/ink.safetensors", "checkpoints/line.safetensors"}
    assert len(file_digest(home / "loras" / "ink.safetensors", home / "cache")) == 64


@pytest.mark.parametrize(
    ("name", "data", "code", "hint"),
    [
        ("old.ckpt", LORA, "model.pickle_refused", "safelight models convert"),
        (
            "old.safetensors",
            pickle.dumps({"a": 1}) + b"0" * 9,
            "model.pickle_refused",
            "safelight models convert",
        ),
        ("notes.txt", b"hello", "checkpoint.invalid", ".safetensors or .gguf"),
        ("cut.safetensors", LORA[:-100], "checkpoint.invalid", "complete"),
        ("short.safetensors", b"abc", "checkpoint.invalid", ""),
        ("odd.safetensors", save({"x": torch.zeros(2, 2, 2)}), "checkpoint.invalid", ""),
        ("../up.safetensors", LORA, "output", "Rename"),
        ("a/b.safetensors", LORA, "output", "Rename"),
        (".hidden.safetensors", LORA, "output", "Rename"),
    ],
)
def test_what_is_refused_leaves_nothing(
    client: TestClient, home: Path, name: str, data: bytes, code: str, hint: str
) -> None:
    status, error = upload(client, name, data)
    assert (status // 100, error["code"]) == (4, code)
    assert hint in f"{error['message']} {error['hint']}"
    assert not files_in(home)


def test_a_name_that_is_taken_is_refused_before_anything_is_sent(client: TestClient, home: Path) -> None:
    assert client.get("/v1/models/uploads/check", params={"name": "ink.safetensors"}).status_code == 204
    upload(client, "ink.safetensors", LORA)
    again = client.get("/v1/models/uploads/check", params={"name": "ink.safetensors"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "output.exists")
    assert upload(client, "ink.safetensors", LORA)[0] == 409


def test_the_size_is_limited(client: TestClient, home: Path) -> None:
    size = {"name": "a.safetensors", "size": 2**59}
    assert client.get("/v1/models/uploads/check", params=size).json()["error"]["code"] == "request.too_large"
    client.patch("/v1/settings", json={"max_upload_bytes": 2**60})
    too_little = client.get("/v1/models/uploads/check", params=size).json()["error"]
    assert "too little space" in too_little["message"]
    client.patch("/v1/settings", json={"max_upload_bytes": len(LORA) - 1})
    assert upload(client, "a.safetensors", LORA)[0] == 413
    assert not files_in(home)


def test_larger_than_other_requests(client: TestClient, home: Path) -> None:
    large = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(22_000, 768)})
    assert len(large) > 64 * 1024 * 1024
    assert upload(client, "large.safetensors", large)[0] == 201
    assert (home / "loras" / "large.safetensors").stat().st_size == len(large)
