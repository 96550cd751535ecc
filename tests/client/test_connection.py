from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from safelight.client import Client, connection
from safelight.errors import (
    DatabaseBusyError,
    KeyInvalidError,
    RateLimitError,
    SafelightError,
    ServerBusyError,
    ServerError,
    SettingsError,
)

JOB = json.dumps(
    {
        "id": "j",
        "owner": "local",
        "kind": "generate",
        "state": "succeeded",
        "request": {},
        "created": "2026-11-24T00:00:00Z",
    }
).encode()


class Handler(BaseHTTPRequestHandler):
    """A handler that sends the test's response and logs nothing."""

    answer: Callable[[Handler], None]

    def do_GET(self) -> None:
        type(self).answer(self)

    def log_message(self, *_: Any) -> None:
        pass

    def give(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def run_server(answer: Callable[[Handler], None]) -> Iterator[str]:
    kind = type("Answering", (Handler,), {"answer": staticmethod(answer)})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def sse_event(number: int, state: str) -> bytes:
    body = {
        "id": number,
        "job_id": "j",
        "kind": "state",
        "data": {"state": state},
        "created": "2026-11-24T00:00:00Z",
    }
    return f"event: state\ndata: {json.dumps(body)}\nid: {number}\n\n".encode()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_DELAY", 0.001)


def test_a_broken_stream_is_resumed() -> None:
    asked: list[str] = []

    def answer(request: Handler) -> None:
        asked.append(request.headers["Last-Event-ID"])
        blocks = {
            1: b": ping\n\n" + sse_event(1, "queued") + sse_event(2, "running"),
            2: b"",  # broken before anything came
            4: sse_event(3, "running") + b'event: state\ndata: {"id"',  # and in the middle of an event
            5: sse_event(4, "succeeded") + sse_event(5, "never read"),
        }
        if len(asked) == 3:
            starting = {"error": {"code": "server.starting", "message": "The server is still starting."}}
            request.give(503, json.dumps(starting).encode())
        else:
            request.give(200, blocks[len(asked)], **{"Content-Type": "text/event-stream"})

    with run_server(answer) as url, Client(url) as client:
        assert [each.id for each in client.events("j")] == [1, 2, 3, 4]
    assert asked == ["0", "2", "2", "2", "3"]


def test_a_stream_that_stays_broken() -> None:
    def answer(request: Handler) -> None:
        request.give(200, sse_event(1, "queued"))

    with (
        run_server(answer) as url,
        Client(url) as client,
        pytest.raises(ServerError, match="ends before the job does"),
    ):
        list(client.events("j", after=1))


@pytest.mark.parametrize(
    "error", [RateLimitError(), ServerBusyError(), DatabaseBusyError()], ids=lambda error: error.code
)
def test_retry_after_is_obeyed_while_a_job_is_followed(
    error: SafelightError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After as long as the server says, while a job is followed; a single request is not retried."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    asked: list[str] = []

    def answer(request: Handler) -> None:
        asked.append(request.path)
        if asked.count(request.path) <= 2:
            request.give(
                error.http_status, json.dumps({"error": error.to_dict()}).encode(), **{"Retry-After": "7"}
            )
        elif request.path.endswith("/events"):
            request.give(200, sse_event(1, "succeeded"))
        else:
            request.give(200, JOB)

    with run_server(answer) as url, Client(url) as client:
        assert client.wait("j").id == "j"
        assert asked == ["/v1/jobs/j/events"] * 3 + ["/v1/jobs/j"] * 3
        assert pauses == [7, 7, 7, 7]
        asked.clear()
        with pytest.raises(type(error)):
            client.job("j")
        assert len(asked) == 1


def test_retries_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    busy = json.dumps({"error": DatabaseBusyError().to_dict()}).encode()
    with (
        run_server(lambda request: request.give(503, busy, **{"Retry-After": "100000"})) as url,
        Client(url) as client,
    ):
        with pytest.raises(ServerError, match="cannot be followed"):
            client.wait("j")
        assert set(pauses) == {60.0}


def test_refusals_are_not_retried() -> None:
    asked = []

    def answer(request: Handler) -> None:
        asked.append(request.headers["Authorization"])
        error = {"code": KeyInvalidError.code, "message": "Wrong.", "hint": "Another."}
        request.give(401, json.dumps({"error": error}).encode())

    with run_server(answer) as url, Client(url, key="sl_x") as client:
        for ask in (lambda: client.job("j"), lambda: list(client.events("j"))):
            with pytest.raises(KeyInvalidError, match=r"Wrong\.") as refused:
                ask()
            assert refused.value.hint == "Another."
    assert asked == ["Bearer sl_x"] * 2


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"oops"), (404, b"{}"), (200, b"oops"), (200, b"[]"), (200, b""), (302, b"")]
)
def test_other_servers(status: int, body: bytes) -> None:
    with (
        run_server(lambda request: request.give(status, body)) as url,
        Client(url) as client,
        pytest.raises(ServerError),
    ):
        client.system()


def test_an_error_code_of_a_newer_server() -> None:
    body = b'{"error": {"code": "new.thing", "message": "Something new."}}'
    with (
        run_server(lambda request: request.give(418, body)) as url,
        Client(url) as client,
        pytest.raises(SafelightError, match="Something new"),
    ):
        client.system()


def test_a_refused_connection() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as taken:
        port = taken.server_address[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        for ask in (client.system, lambda: list(client.events("j"))):
            with pytest.raises(ServerError):
                ask()


def test_proxies_are_ignored_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with (
        run_server(lambda request: request.give(200, b'{"styles": []}')) as url,
        Client(url) as client,
        Client(url.replace("127.0.0.1", "localhost")) as other,
    ):
        assert client.styles() == other.styles() == []


@pytest.mark.parametrize("url", ["", "here", "ftp://here", "http://", "http://a:b", "/a"])
def test_invalid_urls(url: str) -> None:
    with pytest.raises(SettingsError, match="address"):
        Client(url)
