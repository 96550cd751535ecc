from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.models.checkpoints.discovery import STARTER_PATH
from safelight.models.tokenizers.clip_tokenizer import ClipTokenizer
from safelight.server.app import create_app
from safelight.server.core.tokenizer_cache import MAX_TOKENIZERS, TokenizerCache


def test_both_prompts(standing: TestClient) -> None:
    body = {"prompt": "🐈 a (red:1.2) apple, __fruit__", "negative_prompt": "[blurry]", "steps": 10}
    answer = standing.post("/v1/prompts/explain", json=body)
    assert answer.status_code == 200
    found = answer.json()
    assert found["prompt"]["spans"] == [{"start": 6, "end": 9, "weight": 1.2}]
    assert (found["prompt"]["wildcards"], found["prompt"]["missing_wildcards"]) == ([], ["fruit"])
    assert found["prompt"]["tokens"] > 4
    assert (found["prompt"]["chunks"], found["prompt"]["per_chunk"], found["prompt"]["error"]) == (
        1,
        46,
        None,
    )
    assert found["negative_prompt"]["spans"] == [{"start": 1, "end": 7, "weight": 0.909091}]


def test_an_empty_request(standing: TestClient) -> None:
    found = standing.post("/v1/prompts/explain", json={}).json()
    nothing = {"tokens": 0, "chunks": 1, "per_chunk": 46, "spans": [], "error": None}
    nothing |= {"wildcards": [], "missing_wildcards": []}
    assert found == {"prompt": nothing, "negative_prompt": nothing}


def test_an_invalid_prompt_affects_no_other(standing: TestClient) -> None:
    body = {"prompt": "(a:1000) __b__", "negative_prompt": "blurry"}
    answer = standing.post("/v1/prompts/explain", json=body)
    assert answer.status_code == 200
    found = answer.json()
    assert found["prompt"]["error"]["code"] == "prompt"
    assert (found["prompt"]["tokens"], found["prompt"]["missing_wildcards"]) == (None, ["b"])
    assert found["prompt"]["error"]["field"] == "prompt"
    assert found["negative_prompt"]["tokens"] > 0


@pytest.mark.parametrize("part", ["<net:ink:1>", "{<hypernet:a:1>|red}"])
def test_unsupported_parts_of_a_prompt_are_explained(standing: TestClient, part: str) -> None:
    body = {"prompt": f"a cat {part}", "negative_prompt": f"{part} dog"}
    found = standing.post("/v1/prompts/explain", json=body).json()
    for name in body:
        assert found[name]["error"]["code"] == "prompt.unsupported"
        assert f"The {name.replace('_', ' ')} has" in found[name]["error"]["message"]
        assert "backslash" in found[name]["error"]["hint"]


def test_the_longest_part_of_a_composed_prompt_counts(standing: TestClient) -> None:
    body = {"prompt": "a cat AND a red blue green dog :0.5", "negative_prompt": "ROCK AND ROLL"}
    found = standing.post("/v1/prompts/explain", json=body).json()
    alone = standing.post("/v1/prompts/explain", json={"prompt": "a red blue green dog"}).json()
    assert found["prompt"]["tokens"] == alone["prompt"]["tokens"]
    assert found["negative_prompt"]["error"]["code"] == "prompt.unsupported"


def test_invalid_requests(standing: TestClient) -> None:
    for body in ({"prompt": 1}, {"steps": 0}, {"steps": 1001}, {"what": 1}, {"prompt": "x" * 10_001}):
        assert standing.post("/v1/prompts/explain", json=body).status_code == 422
    missing = standing.post("/v1/prompts/explain", json={"checkpoint": "gone"})
    assert missing.json()["error"]["code"] == "checkpoint.missing"
    for path in ("/etc/passwd", str(STARTER_PATH)):
        assert (
            standing.post("/v1/prompts/explain", json={"checkpoint": path}).status_code == missing.status_code
        )


def test_each_checkpoint_has_its_own_token_count(
    client: TestClient, service: QueueService, tiny: Callable[[str], Path]
) -> None:
    home = service.settings.home / "checkpoints"
    for name in ("sdxl", "flux"):
        shutil.copytree(tiny(name), home / name)

    def counted(name: str | None) -> tuple[int | None, int | None]:
        body = {"prompt": "a red apple", "checkpoint": name}
        part = client.post("/v1/prompts/explain", json=body).json()["prompt"]
        return part["tokens"], part["per_chunk"]

    assert counted("starter") == counted(None)
    assert counted("sdxl")[1] == 75
    assert counted("flux") == (None, None)


def test_a_checkpoint_that_only_workers_know(open_service: Callable[..., QueueService]) -> None:
    service = open_service(checkpoint="somebody/something")
    with app_client(create_app(service, service.settings)) as client:
        part = client.post("/v1/prompts/explain", json={"prompt": "(a)"}).json()["prompt"]
    assert (part["tokens"], part["spans"]) == (None, [{"start": 1, "end": 2, "weight": 1.1}])


def test_a_damaged_tokenizer(client: TestClient, service: QueueService) -> None:
    folder = service.settings.home / "checkpoints" / "broken"
    shutil.copytree(STARTER_PATH, folder)
    (folder / "tokenizer" / "tokenizer.json").write_text("{")
    answer = client.post("/v1/prompts/explain", json={"prompt": "a", "checkpoint": "broken"})
    assert answer.json()["error"]["code"] == "checkpoint.invalid"


def test_it_is_fast_enough_for_live_typing(standing: TestClient) -> None:
    body = {"prompt": ", ".join(["a (red:1.2) apple"] * 10), "negative_prompt": "blurry"}
    standing.post("/v1/prompts/explain", json=body)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        standing.post("/v1/prompts/explain", json=body)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02


def test_it_does_not_delay_other_requests(
    client: TestClient, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token counting has its own threads; the others are for quick work."""
    seen: list[str] = []

    def tokenizers(*_: object) -> list[ClipTokenizer]:
        seen.append(threading.current_thread().name)
        return []

    monkeypatch.setattr(TokenizerCache, "tokenizers", tokenizers)
    assert client.post("/v1/prompts/explain", json={"prompt": "a"}).status_code == 200
    assert [name.partition("_")[0] for name in seen] == ["prompts"]


def test_a_prompt_of_a_thousand_phases_is_counted_in_time(standing: TestClient) -> None:
    prompt = "".join(f"[a:b:{number}]" for number in range(1, 1000))
    began = time.process_time()
    answer = standing.post("/v1/prompts/explain", json={"prompt": prompt, "steps": 1000})
    assert answer.json()["prompt"]["tokens"] > 0
    assert time.process_time() - began < 5


def test_the_tokenizer_cache_is_bounded(service: QueueService, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, home = TokenizerCache(), service.settings.home / "checkpoints"
    for number in range(MAX_TOKENIZERS + 2):
        shutil.copytree(STARTER_PATH, home / f"copy-{number}")
        (tokens,) = counting.tokenizers(f"copy-{number}", service.settings)
        assert counting.tokenizers(f"copy-{number}", service.settings) == [tokens]
    assert len(counting._tokenizers) == MAX_TOKENIZERS
    monkeypatch.setattr("safelight.server.core.tokenizer_cache.MAX_CHECKPOINTS", 2)
    for name in (None, "copy-0", "copy-1"):
        assert counting.tokenizers(name, service.settings)
    assert len(counting._cached_sources) <= MAX_TOKENIZERS + 2


def test_wildcards(client: TestClient, service: QueueService) -> None:
    assert client.get("/v1/wildcards").json() == {"wildcards": []}
    folder = service.settings.home / "wildcards" / "plants"
    folder.mkdir(parents=True)
    (folder / "trees.txt").write_text("oak\n# no\nelm\n")
    assert client.get("/v1/wildcards").json() == {"wildcards": [{"name": "plants/trees", "lines": 2}]}
    body = {"prompt": "__nosuch__", "negative_prompt": "__plants/trees__, __../plants/trees__, __plants__"}
    found = client.post("/v1/prompts/explain", json=body).json()
    assert (found["prompt"]["wildcards"], found["prompt"]["missing_wildcards"]) == ([], ["nosuch"])
    assert found["negative_prompt"]["wildcards"] == ["plants/trees"]
    assert found["negative_prompt"]["missing_wildcards"] == ["../plants/trees", "plants"]
