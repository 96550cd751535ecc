from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient
from tests.generation.recall.test_recall import A1111
from tests.server.api.adapter_files import METADATA, write_adapters

from safelight.models.digests import file_digest


def test_adapters_are_listed_with_what_their_files_say(client: TestClient, server_home: Path) -> None:
    (packaged,) = client.get("/v1/adapters").json()["adapters"]
    assert (packaged["name"], packaged["rank"]) == ("starter-few-steps", 16)
    write_adapters(server_home)
    path = server_home / "loras" / "styles" / "ink.safetensors"
    digest = file_digest(path, server_home / "cache")
    (server_home / "loras" / "broken.safetensors").write_bytes(b"nothing")
    found = {each["name"]: each for each in client.get("/v1/adapters").json()["adapters"]}
    assert found["ink"] == {
        "name": "ink",
        "place": "styles/ink",
        "alias": "ink_v2",
        "kind": "LoRA",
        "family": "sd1",
        "types": ["LoRA"],
        "rank": 4,
        "trigger_words": [],
        "size": path.stat().st_size,
        "digest": digest,
        "metadata": METADATA,
    }
    assert {
        name: (each["kind"], each["family"], each["rank"])
        for name, each in found.items()
        if name not in ("ink", packaged["name"])
    } == {
        "mossy": ("embedding", "sd1", 3),
        "glassy": ("embedding", "sdxl", 2),
    }


def test_recall_finds_adapters_by_name_and_by_hash(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    for digits, name in (("0123456789ab", "ink"), ("abababababab", "fruit")):
        text = A1111.replace("0123456789ab", digits).replace("fruit", name)
        text = text.replace("Version: v1.10.1", 'TI hashes: "mossy: 123456789abc, gone: 123456789abc"')
        found = client.post("/v1/recall", json={"text": text}).json()
        assert found["fields"]["prompt"] == "a (red:1.2) apple, <lora:ink:0.8>"
        unfilled = {each["name"]: each["value"] for each in found["unfilled"]}
        assert unfilled["textual inversion"] == "gone"
        assert ("adapter's hash" in unfilled) == (name == "ink")


def test_a_job_may_name_what_is_listed(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    body = {"kind": "generate", "prompt": "a cat"}
    for name in ("ink", "styles/ink", "ink_v2:0.5"):
        assert client.post("/v1/jobs", json=body | {"adapters": [name]}).status_code == 202
    path = str(server_home / "loras" / "styles" / "ink.safetensors")
    for name in (path, "oil"):
        refused = client.post("/v1/jobs", json=body | {"adapters": [{"name": name}]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "adapter.missing")
        assert str(server_home) not in refused.json()["error"]["hint"]


def test_the_vectors_of_textual_inversions_are_counted(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)

    def tokens(prompt: str) -> int:
        found = client.post("/v1/prompts/explain", json={"prompt": prompt, "negative_prompt": ""}).json()
        return int(found["prompt"]["tokens"])

    assert tokens("a mossy cat") == tokens("a cat") + 3
    assert tokens("a glassy cat") == tokens("a \\glassy cat"), "it is for another family"
    assert tokens("a cat <lora:ink:1>") == tokens("a cat")
    missing = client.post(
        "/v1/prompts/explain", json={"prompt": "embedding:gone", "negative_prompt": ""}
    ).json()
    assert missing["prompt"]["error"]["code"] == "adapter.missing"
