from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.server.api.adapter_files import METADATA, write_adapters

from safelight.generation.solvers.registry import SAMPLERS
from safelight.models.checkpoints.discovery import STARTER_PATH, find_checkpoint
from safelight.server.api.a1111.routes.catalog import EMPTY_LISTS


def test_samplers_with_string_options(standing: TestClient) -> None:
    found = standing.get("/sdapi/v1/samplers").json()
    assert [each["name"] for each in found] == list(SAMPLERS)
    assert all(isinstance(value, str) for each in found for value in each["options"].values())


def test_schedulers(standing: TestClient) -> None:
    found = {each["name"]: each for each in standing.get("/sdapi/v1/schedulers").json()}
    assert found["sgm_uniform"]["label"] == "SGM Uniform"
    assert set(found["karras"]) == {"name", "label", "aliases", "default_rho", "need_inner_model"}


def test_upscalers_without_paths(client: TestClient, server_home: Path) -> None:
    (server_home / "upscalers").mkdir()
    (server_home / "upscalers" / "4x_Sharp.safetensors").write_bytes(b"")
    found = client.get("/sdapi/v1/upscalers").json()
    assert [each["name"] for each in found] == [
        "None",
        "Nearest",
        "Bilinear",
        "Bicubic",
        "Lanczos",
        "4x_Sharp",
        "starter-2x",
    ]
    assert str(server_home) not in json.dumps(found)
    assert client.get("/sdapi/v1/latent-upscale-modes").json() == [{"name": "Latent"}]


def test_checkpoints_in_both_versions(client: TestClient, server_home: Path) -> None:
    (first,) = client.get("/sdapi/v1/sd-models").json()
    assert (first["title"], first["model_name"], first["hash"], first["sha256"]) == (
        "starter",
        "starter",
        None,
        None,
    )
    assert first["filename"] == str(STARTER_PATH.resolve())
    digest = find_checkpoint("starter", server_home).digest(server_home / "cache")
    page = client.get("/sdapi/v2/sd-models").json()
    assert page["total"] == 1
    assert page["items"][0]["title"] == f"starter [{digest[:10]}]"
    assert (page["items"][0]["sha256"], page["items"][0]["hash"]) == (digest, digest[:10])
    assert page["items"][0]["size"] > 1_000_000


def test_styles(client: TestClient, server_home: Path) -> None:
    assert client.get("/sdapi/v1/prompt-styles").json() == []
    (server_home / "styles").mkdir()
    style = {"name": "oil", "prompt": "{prompt}, oil", "negative_prompt": "photo"}
    (server_home / "styles" / "mine.json").write_text(json.dumps(style))
    assert client.get("/sdapi/v1/prompt-styles").json() == [style]


@pytest.mark.parametrize("name", EMPTY_LISTS)
def test_empty_lists(standing: TestClient, name: str) -> None:
    response = standing.get(f"/sdapi/v1/{name}")
    assert (response.status_code, response.json()) == (200, [])


def test_loras_and_embeddings(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    ink, packaged = client.get("/sdapi/v1/loras").json()
    assert packaged["name"] == "starter-few-steps"
    path = str(server_home / "loras" / "styles" / "ink.safetensors")
    assert ink == {"name": "ink", "alias": "ink_v2", "path": path, "metadata": METADATA}
    found = client.get("/sdapi/v1/embeddings").json()
    assert found["loaded"]["mossy"].items() >= {"vectors": 3, "shape": 768}.items()
    assert found["skipped"]["glassy"]["vectors"] == 2
    names = client.get("/sdapi/v2/embeddings").json()
    assert names == {"loaded": [{"name": "mossy"}], "skipped": [{"name": "glassy"}]}


def test_embeddings_and_scripts(standing: TestClient) -> None:
    assert standing.get("/sdapi/v1/embeddings").json() == {"loaded": {}, "skipped": {}}
    assert standing.get("/sdapi/v2/embeddings").json() == {"loaded": [], "skipped": []}
    assert standing.get("/sdapi/v1/scripts").json() == {"txt2img": [], "img2img": [], "control": []}
