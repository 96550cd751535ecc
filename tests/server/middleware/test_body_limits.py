from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.middleware import body_limits
from safelight.server.middleware.body_limits import BodyLimitMiddleware
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Principal, Role
from safelight.settings import Settings

DRAWING = {"kind": "generate", "prompt": "a lighthouse", "width": 64, "height": 64, "steps": 1}


@pytest.fixture
def small(open_service: Callable[..., QueueService]) -> Iterator[TestClient]:
    service = open_service(max_request_bytes=10_000)
    with app_client(create_app(service, service.settings)) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/moderate", "/sdapi/v1/txt2img", "/sdapi/v1/img2img"])
def test_a_body_whose_content_length_is_too_large(small: TestClient, path: str) -> None:
    response = small.post(
        path, content=b"{" + b" " * 10_000 + b"}", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413
    assert "request.too_large" in response.text


@dataclass
class Sender:
    """Sends a body in parts to an application without pauses, and counts the parts that are received."""

    app: ASGIApp
    taken: int = 0
    status: int = 0

    async def send(self, path: str, parts: Iterable[bytes], **headers: str) -> None:
        coming = iter(parts)

        async def receive() -> Message:
            self.taken += 1
            body = next(coming, b"")
            return {"type": "http.request", "body": body, "more_body": bool(body)}

        async def send(message: Message) -> None:
            self.status = message.get("status", self.status)

        named = {"host": "127.0.0.1:7860", **headers}
        await self.app(
            {
                "type": "http",
                "http_version": "1.1",
                "method": "POST",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "headers": [
                    (name.replace("_", "-").encode(), value.encode()) for name, value in named.items()
                ],
                "client": ("127.0.0.1", 50000),
                "server": ("127.0.0.1", 7860),
                "scheme": "http",
            },
            receive,
            send,
        )


def send_body(service: QueueService, path: str, parts: Iterable[bytes], **headers: str) -> Sender:
    """What an application in this process receives of a body."""

    async def run(app: FastAPI) -> Sender:
        async with app.router.lifespan_context(app) as state:
            sender = Sender(_with_state(app, state))
            await sender.send(path, parts, **headers)
            return sender

    return asyncio.run(run(create_app(service, service.settings)))


def _with_state(app: ASGIApp, state: Mapping[str, Any] | None) -> ASGIApp:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state or {})}, receive, send)

    return inner


def test_a_body_announced_as_too_large_is_not_read(open_service: Callable[..., QueueService]) -> None:
    service = open_service(max_request_bytes=10_000)
    sender = send_body(service, "/v1/jobs", [b"x"], content_type="application/json", content_length="10001")
    assert (sender.status, sender.taken) == (413, 0)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "image/png"])
def test_a_body_that_grows_too_large(open_service: Callable[..., QueueService], kind: str) -> None:
    service = open_service(max_request_bytes=10_000)
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    sender = send_body(
        service, "/v1/moderate", [head.ljust(1000, b"x"), *[b"x" * 1000] * 99], content_type=kind
    )
    assert (sender.status, sender.taken) == (413, 11)


def test_the_body_of_an_unauthenticated_request_is_not_read(service: QueueService) -> None:
    KeyStore(service.engine).add("anna")
    sender = send_body(service, "/v1/jobs", [b"x"], content_type="application/json")
    assert (sender.status, sender.taken) == (401, 0)


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "²", "9" * 400])
def test_invalid_content_lengths(small: TestClient, length: str) -> None:
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


def test_json_with_too_many_values_is_refused(client: TestClient) -> None:
    response = client.post(
        "/v1/jobs", content=b"[" + b"{}," * 300_000 + b"{}]", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert "values" in response.text


async def send_slowly(settings: Settings, parts: list[tuple[float, bytes]]) -> int:
    """Send a body in parts with pauses to an application that reads all of it; returns the status."""

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

    state = {"principal": Principal("anna", Role.USER)}
    scope = {"type": "http", "path": "/v1/jobs", "method": "POST", "headers": [], "state": state}
    await BodyLimitMiddleware(app, settings)(scope, receive, send)  # type: ignore[arg-type]
    return statuses[0]


def test_a_pause_beyond_the_timeout(server_home: object) -> None:
    settings = Settings(home="/nowhere", body_timeout=0.2)
    assert asyncio.run(send_slowly(settings, [(0.05, b"x" * 9000), (0.05, b"x"), (0, b"")])) == 200
    assert asyncio.run(send_slowly(settings, [(0.05, b"x" * 9000), (0.4, b"x"), (0, b"")])) == 408


def test_a_rate_below_the_minimum() -> None:
    settings = Settings(home="/nowhere", body_timeout=0.3)
    assert asyncio.run(send_slowly(settings, [*[(0.1, b"x")] * 20, (0, b"")])) == 408
    assert asyncio.run(send_slowly(settings, [*[(0.1, b"x" * 2000)] * 6, (0, b"")])) == 200


def test_large_json_is_checked_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_in: list[str] = []

    def complaint(data: bytes) -> None:
        looked_in.append(
            f"{len(data) > body_limits.SMALL} {threading.current_thread() is threading.main_thread()}"
        )

    monkeypatch.setattr(body_limits, "json_error", complaint)
    for size in (1000, 300_000):
        assert asyncio.run(send_slowly(Settings(home="/nowhere"), [(0, b"x" * size), (0, b"")])) == 200
    assert looked_in == ["False True", "True False"]


@pytest.mark.parametrize(
    ("timeout", "expected"), [(0.05, [200, 200, 503, 200, 503, 200]), (30, [200, 200, 200, 200, 200, 200])]
)
def test_all_bodies_share_a_budget(
    timeout: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes in flight are bounded; an owner gets half of what the others leave; the rest waits."""
    monkeypatch.setattr(body_limits, "MEMORY_FACTOR", 4)
    held, reading = asyncio.Event(), 0

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        nonlocal reading
        while (await receive()).get("more_body"):
            pass
        reading += 1
        await held.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    bounded = BodyLimitMiddleware(
        app, Settings(home="/nowhere", max_request_bytes=10_000, body_timeout=timeout)
    )

    async def asks(owner: str) -> int:
        def owned(scope: Scope, receive: Receive, send: Send) -> Any:
            return bounded({**scope, "state": {"principal": Principal(owner, Role.USER)}}, receive, send)

        sender = Sender(owned)
        await sender.send("/v1/moderate", [b"x" * 9000], content_type="image/png", content_length="9000")
        return sender.status

    async def crowd() -> list[int]:
        waiting = [asyncio.create_task(asks(owner)) for owner in ("anna", "anna", "anna", "berta", "berta")]
        async with asyncio.timeout(30):
            while reading < 3:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # twice the shorter timeout
        assert reading == 3
        held.set()
        return [*await asyncio.gather(*waiting), await asks("anna")]

    assert asyncio.run(crowd()) == expected


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-16", "idna"])
def test_the_charset_of_a_form_is_ignored(client: TestClient, charset: str) -> None:
    """Some of Python's codecs take quadratic time, and some fail with unusual errors."""
    fields = b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n' + json.dumps(DRAWING).encode()
    for head in (f"charset={charset}", f"charset*=utf-8''{charset}"):
        answer = client.post(
            "/v1/jobs",
            content=fields + b"\r\n--b--\r\n",
            headers={"Content-Type": f"multipart/form-data; boundary=b; {head}"},
        )
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    "boundary", ["", 'boundary=""', "boundary=" + "x" * 71, 'boundary="a\\"b"', "boundary=ä"]
)
def test_invalid_boundaries(client: TestClient, boundary: str) -> None:
    kind = f"multipart/form-data; {boundary}".encode("latin-1")
    answer = client.post("/v1/jobs", content=b"--x", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "request.invalid")
