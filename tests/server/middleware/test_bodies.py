from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.server.conftest import client_of

from safelight.jobs.service import Service
from safelight.server.app import create_app
from safelight.server.middleware import bodies
from safelight.server.middleware.bodies import MAX_DEPTH, Bodies, complaint_about_json
from safelight.settings import Settings


@pytest.fixture
def small(open_service: Callable[..., Service]) -> Iterator[TestClient]:
    service = open_service(max_request_bytes=10_000)
    with client_of(create_app(service, service.settings)) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/moderate", "/sdapi/v1/txt2img", "/sdapi/v1/img2img"])
def test_too_large_by_its_own_word(small: TestClient, path: str) -> None:
    response = small.post(
        path, content=b"{" + b" " * 10_000 + b"}", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413
    assert "request.too_large" in response.text


def test_what_is_announced_too_large_is_not_read(small: TestClient) -> None:
    read = []

    def body() -> Iterator[bytes]:
        read.append(1)
        yield b"x"

    response = small.post("/v1/jobs", content=body(), headers={"Content-Length": "10001"})
    assert response.status_code == 413


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "image/png"])
def test_too_large_while_it_comes(small: TestClient, kind: str) -> None:
    sent = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x" * 1000

    response = small.post("/v1/moderate", content=body(), headers={"Content-Type": kind})
    assert response.status_code == 413


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "²", "9" * 400])
def test_strange_lengths(small: TestClient, length: str) -> None:
    response = small.post("/v1/jobs", content=b"{}", headers={"Content-Length": length.encode()})
    assert response.status_code in (413, 422)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"kind":"generate","prompt":['])
@pytest.mark.parametrize("depth", [1000, 100_000])
def test_deep_json_is_refused(client: TestClient, opening: str, depth: int) -> None:
    for path in ("/v1/jobs", "/sdapi/v1/txt2img"):
        for kind in ("application/json", "Application/JSON; charset=utf-8"):
            response = client.post(path, content=opening * depth, headers={"Content-Type": kind})
            assert response.status_code == 422
            assert "nested deeper" in response.text


def test_many_small_values_are_refused(client: TestClient) -> None:
    response = client.post(
        "/v1/jobs", content=b"[" + b"{}," * 300_000 + b"{}]", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert "values" in response.text


JSON = st.recursive(
    st.none() | st.text('[]{}"\\,a', max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[{"\\'), inner),
    max_leaves=60,
)


def depth_of(value: object) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((depth_of(part) for part in inner), default=0)


@given(JSON, st.integers(1, 6))
def test_depth_is_reckoned_as_it_is(value: object, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "MAX_DEPTH", limit)
        complaint = complaint_about_json(json.dumps(value).encode())
    assert (complaint is not None) == (depth_of(value) > limit)


def test_brackets_in_prompts_are_no_depth() -> None:
    prompt = json.dumps({"prompt": "((" + "[" * 500 + '\\"{' * 500}).encode()
    assert complaint_about_json(prompt) is None
    assert complaint_about_json(b'"' + b"\\" * 100_001) is None
    assert complaint_about_json(b"[" * MAX_DEPTH) is None


def test_many_megabytes_are_looked_at_quickly() -> None:
    data = b'{"a":[' + b'["' + b"A" * 60_000_000 + b'"]' + b",[]" * 100 + b"]}"
    began = time.process_time()
    assert complaint_about_json(data) is None
    assert time.process_time() - began < 2


async def trickle(settings: Settings, parts: list[tuple[float, bytes]]) -> int:
    """Send a body in parts with pauses to an application that reads all of it; gives the status."""

    async def app(scope: object, receive: Callable[..., object], send: Callable[..., object]) -> None:
        while (await receive()).get("more_body"):  # type: ignore[misc, attr-defined]
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]

    coming = iter(parts)
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        pause, body = next(coming)
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": body, "more_body": bool(body)}

    async def send(message: dict[str, object]) -> None:
        statuses.append(message.get("status", 0))  # type: ignore[arg-type]

    scope = {"type": "http", "path": "/v1/jobs", "method": "POST", "headers": []}
    await Bodies(app, settings)(scope, receive, send)  # type: ignore[arg-type]
    return statuses[0]


def test_a_pause_that_is_too_long(server_home: object) -> None:
    settings = Settings(home="/nowhere", body_patience=0.2)
    assert asyncio.run(trickle(settings, [(0.05, b"x" * 9000), (0.05, b"x"), (0, b"")])) == 200
    assert asyncio.run(trickle(settings, [(0.05, b"x" * 9000), (0.4, b"x"), (0, b"")])) == 408


def test_a_pace_that_is_too_slow() -> None:
    settings = Settings(home="/nowhere", body_patience=0.3)
    assert asyncio.run(trickle(settings, [*[(0.1, b"x")] * 20, (0, b"")])) == 408
    assert asyncio.run(trickle(settings, [*[(0.1, b"x" * 2000)] * 6, (0, b"")])) == 200
