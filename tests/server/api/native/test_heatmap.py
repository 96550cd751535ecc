from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.moderation import explain
from safelight.moderation.explain import Explainer
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore

JPEG = {"Content-Type": "image/jpeg"}
HEAT = "/v1/moderate/heat"


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_heat_map_is_the_same_however_the_picture_is_sent(
    standing: TestClient, photographs: list[Path]
) -> None:
    cat = photographs[1]
    answers = [
        standing.post(HEAT, content=cat.read_bytes(), headers=JPEG),
        standing.post(HEAT, json={"image": text(cat)}),
        standing.post(HEAT, files={"image": cat.read_bytes()}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == ("image/webp", "no-store")
        assert answer.content == answers[0].content
    with Image.open(io.BytesIO(answers[0].content)) as heat:
        heat = heat.convert("RGB")
        expected = Explainer("open-nsfw").explain(cat).heat_map
        assert heat.size == expected.size
        difference = np.abs(np.asarray(heat, int) - np.asarray(expected, int))
    assert difference.mean() < 8


def test_the_explainer_is_loaded_once(
    client: TestClient, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    compile_network = explain.compile_network

    def counted(*args: Any) -> object:
        compiled.append(args)
        return compile_network(*args)

    monkeypatch.setattr(explain, "compile_network", counted)
    assert client.post("/v1/moderate", content=photographs[1].read_bytes(), headers=JPEG).is_success
    assert compiled == []  # not before it is requested
    for path in photographs[:2]:
        assert client.post(HEAT, content=path.read_bytes(), headers=JPEG).is_success
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"hello there", "headers": JPEG}, 415, "image.not_recognised"),
        ({"content": b"", "headers": JPEG}, 422, "request.too_short"),
        ({"json": {}}, 422, "request.missing"),
        ({"json": {"images": ["x"]}}, 422, "request.missing"),
        ({"json": {"image": "/etc/passwd"}}, 422, "request.picture"),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "request.media_type"),
    ],
)
def test_pictures_that_cannot_be_explained(
    standing: TestClient, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = standing.post(HEAT, **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_a_frame_that_does_not_exist(standing: TestClient, photographs: list[Path]) -> None:
    answer = standing.post(f"{HEAT}?frame=3", content=photographs[1].read_bytes(), headers=JPEG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "request")
    assert "frame 3" in answer.json()["error"]["message"]
    assert standing.post(f"{HEAT}?frame=-1", content=b"x", headers=JPEG).status_code == 422


def test_only_one_classifier_has_exact_heat_maps(
    open_service: Callable[..., QueueService], standing: TestClient, photographs: list[Path]
) -> None:
    data = photographs[1].read_bytes()
    answer = standing.post(f"{HEAT}?classifier=nothing", content=data, headers=JPEG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model.unknown")
    service = open_service(classifier="/secret-folder/mine")
    with app_client(create_app(service, service.settings)) as client:
        answer = client.post(HEAT, content=data, headers=JPEG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "explain.unsupported")
        assert "secret-folder" not in answer.text
        assert client.post(f"{HEAT}?classifier=open-nsfw", content=data, headers=JPEG).is_success


def test_it_counts_as_a_picture(client: TestClient, service: QueueService, photographs: list[Path]) -> None:
    anna = {"Authorization": f"Bearer {KeyStore(service.engine).add('anna', pictures_per_day=1)}"} | JPEG
    data = photographs[1].read_bytes()
    answers = [
        client.post(HEAT, content=b"hello there", headers=anna),
        client.post(HEAT, content=data, headers=anna),
        client.post(HEAT, content=data, headers=anna),
    ]
    assert [answer.status_code for answer in answers] == [415, 200, 429]
