from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.server.app import create_app
from safelight.server.core.request_bodies.image_inputs import MAX_URLS
from safelight.server.core.request_bodies.large_json import LARGE
from safelight.server.security.keys import KeyStore

JPEG = {"Content-Type": "image/jpeg"}


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def large_json(picture: str) -> bytes:
    """JSON with so much whitespace that it is parsed in pieces."""
    return b'{"image": ' + b" " * LARGE + b'"' + picture.encode() + b'"}'


def test_large_malformed_json_is_refused_like_small(client: TestClient) -> None:
    answers = [
        client.post("/v1/moderate", content=body, headers={"Content-Type": "application/json"})
        for body in (b'{"image": "a",}', large_json("a" * LARGE).replace(b"}", b",}"))
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].json()["error"]["code"] == answers[1].json()["error"]["code"]


def test_a_verdict_is_the_same_however_the_picture_is_sent(
    client: TestClient, photographs: list[Path], open_nsfw: NetworkClassifier
) -> None:
    cat = photographs[1]
    answers = [
        client.post("/v1/moderate", content=cat.read_bytes(), headers=JPEG),
        client.post(
            "/v1/moderate", content=cat.read_bytes(), headers={"Content-Type": "application/octet-stream"}
        ),
        client.post("/v1/moderate", json={"image": text(cat)}),
        client.post("/v1/moderate", json={"images": [f"data:image/jpeg;base64,{text(cat)}"]}),
        client.post(
            "/v1/moderate", content=large_json(text(cat)), headers={"Content-Type": "application/json"}
        ),
        client.post("/v1/moderate", files={"image": cat.read_bytes()}),
        client.post("/v1/moderate", files={"images": cat.read_bytes()}),
    ]
    for answer in answers:
        assert answer.json() == answers[0].json(), answer.text
    (verdict,) = answers[0].json()["verdicts"]
    assert verdict["decision"] == "allow"
    assert verdict["classifier"]["digest"] == open_nsfw.info.digest
    assert verdict["policy"]["name"] == "standard"
    assert verdict["unsafe"] == verdict["scores"]["nsfw"]
    assert (verdict["embedding_dim"], verdict["embedding"]) == (1024, None)


def test_several_pictures_keep_their_order_and_a_bad_one_affects_no_other(
    client: TestClient, photographs: list[Path]
) -> None:
    alone = [
        client.post("/v1/moderate", content=path.read_bytes(), headers=JPEG).json()["verdicts"][0]
        for path in photographs
    ]
    parts = [("images", path.read_bytes()) for path in photographs]
    found = client.post("/v1/moderate", files=[*parts, ("images", b"hello")]).json()["verdicts"]
    assert [verdict | {"index": 0} for verdict in found[:5]] == alone
    assert [verdict["index"] for verdict in found] == [0, 1, 2, 3, 4, 5]
    assert (found[5]["decision"], found[5]["error"]["code"]) == ("error", "image.not_recognised")
    broken = client.post("/v1/moderate", json={"images": ["%%%", text(photographs[0])]}).json()["verdicts"]
    assert [verdict["decision"] for verdict in broken] == ["error", "allow"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"hello there", "headers": JPEG}, 415, "image.not_recognised"),
        ({"content": b"", "headers": JPEG}, 422, "request.too_short"),
        ({"json": {}}, 422, "request.invalid"),
        ({"json": {"image": "", "images": []}}, 422, "request.too_short"),
        ({"json": {"image": "x", "images": ["x"]}}, 422, "request.invalid"),
        ({"json": {"images": ["x"] * 65}}, 422, "request.too_long"),
        ({"json": {"image": "/etc/passwd"}}, 422, "request.picture"),
        ({"json": {"image": "http://127.0.0.1/x.png"}}, 422, "request.picture_url"),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "request.media_type"),
    ],
)
def test_pictures_that_cannot_be_judged(
    client: TestClient, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/v1/moderate", **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"policy": "/etc/passwd"}, 422),
        ({"policy": "anything"}, 422),
        ({"classifier": "/etc"}, 404),
        ({"classifier": "../models"}, 404),
        ({"classifier": "owner/name"}, 404),
        ({"classifier": "nsfw-image-detection-384"}, 404),
        ({"embeddings": "perhaps"}, 422),
    ],
)
def test_only_presets_and_installed_classifiers_are_accepted(
    client: TestClient, photographs: list[Path], query: dict[str, str], status: int
) -> None:
    answer = client.post("/v1/moderate", params=query, content=photographs[1].read_bytes(), headers=JPEG)
    assert answer.status_code == status, answer.text


def test_policies_and_embeddings(client: TestClient, photographs: list[Path]) -> None:
    query = {"policy": "strict", "embeddings": "true", "classifier": "open-nsfw"}
    answer = client.post("/v1/moderate", params=query, content=photographs[1].read_bytes(), headers=JPEG)
    (verdict,) = answer.json()["verdicts"]
    assert verdict["policy"]["name"] == "strict"
    assert len(verdict["embedding"]) == verdict["embedding_dim"] == 1024


def test_pictures_count_before_they_are_judged(
    client: TestClient, service: QueueService, photographs: list[Path]
) -> None:
    data = photographs[1].read_bytes()
    anna = {"Authorization": f"Bearer {KeyStore(service.engine).add('anna', pictures_per_day=3)}"}

    def judged(count: int) -> int:
        parts = [("images", data)] * count
        return client.post("/v1/moderate", files=parts, headers=anna).status_code

    assert [judged(2), judged(2), judged(1), judged(1)] == [200, 429, 200, 429]


def test_pictures_that_cannot_be_judged_are_refunded(
    client: TestClient, service: QueueService, photographs: list[Path]
) -> None:
    anna = {"Authorization": f"Bearer {KeyStore(service.engine).add('anna', pictures_per_day=1)}"} | JPEG
    data = photographs[1].read_bytes()
    answers = [
        client.post("/v1/moderate", params={"classifier": "nothing"}, content=data, headers=anna),
        client.post("/v1/moderate", content=b"hello there", headers=anna),
        client.post("/v1/moderate", content=data, headers=anna),
        client.post("/v1/moderate", content=data, headers=anna),
    ]
    assert [answer.status_code for answer in answers] == [404, 415, 200, 429]


def test_pictures_are_downloaded_after_they_are_counted(
    open_service: Callable[..., QueueService], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    async def fetch(url: str, *_: object) -> bytes:
        fetched.append(url)
        return b"no picture"

    monkeypatch.setattr("safelight.server.core.request_bodies.image_inputs.fetch_image", fetch)
    service = open_service(allow_image_urls=True)
    key = KeyStore(service.engine).add("anna", pictures_per_day=20)
    with app_client(create_app(service, service.settings), Authorization=f"Bearer {key}") as client:
        address = "https://example.org/"
        assert client.post("/v1/moderate", json={"images": [address] * 21}).status_code == 429
        texts = [{"type": "image_url", "image_url": {"url": address}}] * 21
        assert client.post("/v1/moderations", json={"input": texts}).status_code == 429
        assert fetched == []
        answer = client.post("/v1/moderate", json={"images": [address] * 20})
    assert [each["error"]["code"] for each in answer.json()["verdicts"]] == [
        *["image.not_recognised"] * MAX_URLS,
        *["request.picture_url"] * (20 - MAX_URLS),
    ]
    assert len(fetched) == MAX_URLS
