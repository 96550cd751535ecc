from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.errors import BlocklistError
from safelight.jobs.queue_service import QueueService
from safelight.server.api.openai.blocklist_cache import BlocklistCache
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore


def as_input(data: bytes) -> dict[str, Any]:
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"},
    }


def test_pictures_are_judged_in_their_order(standing: TestClient, photographs: list[Path]) -> None:
    given = [as_input(path.read_bytes()) for path in photographs[:2]]
    answer = standing.post("/v1/moderations", json={"input": given}).json()
    scores = [result["category_scores"]["sexual"] for result in answer["results"]]
    assert len(set(scores)) == 2
    for path, score in zip(photographs, scores, strict=False):
        alone = standing.post(
            "/v1/moderate", json={"image": base64.b64encode(path.read_bytes()).decode()}
        ).json()
        assert alone["verdicts"][0]["unsafe"] == pytest.approx(score)
    assert answer["model"] == "open-nsfw"
    assert standing.post("/v1/moderations", json={"input": given, "model": "open-nsfw"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": "some text"}, 400, "moderation.text_unjudged"),
        ({"input": ["some", "text"]}, 400, "moderation.text_unjudged"),
        ({"input": "some text", "model": "mine"}, 404, "model_not_found"),
        ({"input": []}, 400, "request.field"),
        ({"input": [as_input(b"no picture")]}, 415, "image.not_recognised"),
        (
            {"input": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
            400,
            "request.picture_url",
        ),
        ({"input": [{"type": "audio"}]}, 400, "request.invalid"),
        ({}, 400, "request.invalid"),
    ],
)
def test_refused_requests(standing: TestClient, body: dict[str, Any], status: int, code: str) -> None:
    response = standing.post("/v1/moderations", json=body)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_openai_model_names_mean_the_configured_classifier(
    standing: TestClient, photographs: list[Path]
) -> None:
    body = {"input": [as_input(photographs[0].read_bytes())], "model": "omni-moderation-latest"}
    assert standing.post("/v1/moderations", json=body).json()["model"] == "open-nsfw"


def test_a_text_beside_a_picture(open_service: Callable[..., QueueService], photographs: list[Path]) -> None:
    body = {"input": [{"type": "text", "text": "hello"}, as_input(photographs[0].read_bytes())]}
    for setting, status in (("refuse", 400), ("skip", 200)):
        service = open_service(moderation_texts=setting)
        with app_client(create_app(service, service.settings)) as client:
            response = client.post("/v1/moderations", json=body)
        assert response.status_code == status
    assert response.json()["results"][0]["unjudged"] == ["text"]


def test_the_blocklist_judges_texts(open_service: Callable[..., QueueService], tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    service = open_service(text_blocklist=str(path))
    with app_client(create_app(service, service.settings)) as client:
        missing = client.post("/v1/moderations", json={"input": "lemon"})
        path.write_text("lemon")
        found = client.post("/v1/moderations", json={"input": ["a lemon", "a pear"]}).json()
    assert (missing.status_code, missing.json()["error"]["code"]) == (500, "moderation.blocklist")
    assert [each["flagged"] for each in found["results"]] == [True, False]


@pytest.mark.parametrize("model", ["gpt-4", "../../etc", "/models/open-nsfw"])
def test_only_installed_classifiers_are_accepted(
    standing: TestClient, photographs: list[Path], model: str
) -> None:
    body = {"input": [as_input(photographs[0].read_bytes())], "model": model}
    response = standing.post("/v1/moderations", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_pictures_count_before_they_are_judged(
    open_service: Callable[..., QueueService], photographs: list[Path]
) -> None:
    service = open_service(pictures_per_minute=1)
    key = KeyStore(service.engine).add("anna")
    body = {"input": [as_input(photographs[0].read_bytes())] * 3}
    with app_client(create_app(service, service.settings), Authorization=f"Bearer {key}") as client:
        response = client.post("/v1/moderations", json=body)
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"


def test_texts_are_limited_and_counted(open_service: Callable[..., QueueService], tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("lemon")
    service = open_service(text_blocklist=str(path), pictures_per_minute=5)
    KeyStore(service.engine).add("anna")
    key = KeyStore(service.engine).add("berta")
    with app_client(create_app(service, service.settings), Authorization=f"Bearer {key}") as client:
        long = client.post("/v1/moderations", json={"input": ["x" * 60_000] * 2})
        assert (long.status_code, long.json()["error"]["code"]) == (400, "request.field")
        assert client.post("/v1/moderations", json={"input": ["a", "b", "c"]}).status_code == 200
        assert client.post("/v1/moderations", json={"input": ["a", "b", "c"]}).status_code == 429
        assert client.post("/v1/moderations", json={"input": ["a", "lemon"]}).json()["results"][1]["flagged"]


def test_a_changed_blocklist_is_read_again(tmp_path: Path) -> None:
    path, lists = tmp_path / "words.txt", BlocklistCache()
    path.write_text("lemon")
    first = lists.get(path)
    assert lists.get(path) is first
    path.write_text("apples")
    assert lists.get(path).judge(["apples"]).hit
    path.unlink()
    with pytest.raises(BlocklistError):
        lists.get(path)
