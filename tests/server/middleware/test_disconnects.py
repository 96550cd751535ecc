from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from safelight.jobs.queue_service import QueueService
from safelight.moderation.moderator import Moderator
from safelight.server.middleware.disconnects import (
    CLIENT_CLOSED_REQUEST,
    ClientConnection,
    DisconnectMiddleware,
)


class AbortableRequest:
    """A request to an application without a server; its client disconnects when ``leave`` is called.

    Args:
        method: The request's method.
        body: The request's body.
        headers: The request's headers.
        path: The request's path.
    """

    def __init__(
        self, method: str = "POST", body: bytes = b"{}", path: str = "/v1/moderate", **headers: str
    ) -> None:
        named = {"host": "127.0.0.1:7860", "content-length": str(len(body)), **headers}
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").encode(), value.encode())
                for name, value in named.items()
                if value != "0"
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 7860),
            "scheme": "http",
        }
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]
        self._gone = asyncio.Event()
        self.sent: list[Message] = []

    def leave(self) -> None:
        self._gone.set()

    @property
    def status(self) -> int | None:
        return next((each["status"] for each in self.sent if each["type"] == "http.response.start"), None)

    async def of(self, app: Any) -> None:
        await app(self.scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._messages:
            return self._messages.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


class WaitingApp:
    """An application that reads the request and then waits until it may respond."""

    def __init__(self, *, ending: bool) -> None:
        self._ending = ending
        self.may_answer, self.read = asyncio.Event(), asyncio.Event()
        self.finished = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        if self._ending:
            self.client_of(scope).cancel_on_disconnect()
        self.read.set()
        await self.may_answer.wait()
        self.finished = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @staticmethod
    def client_of(scope: Scope) -> ClientConnection:
        client: ClientConnection = scope["state"]["client"]
        return client


async def abort_while_handled(call: AbortableRequest, handled: WaitingApp) -> asyncio.Task[None]:
    """Send a request whose client disconnects while it is handled."""
    task = asyncio.create_task(call.of(DisconnectMiddleware(handled)))
    await handled.read.wait()
    call.leave()
    for _ in range(10):
        await asyncio.sleep(0)
    return task


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


@pytest.mark.parametrize(("method", "ending"), [("POST", True), ("GET", False), ("HEAD", False)])
def test_a_read_is_cancelled_when_its_client_disconnects(method: str, ending: bool) -> None:
    async def test() -> None:
        call, handled = (
            AbortableRequest(method, b"" if method != "POST" else b"{}"),
            WaitingApp(ending=ending),
        )
        await (await abort_while_handled(call, handled))
        assert (handled.finished, call.status) == (False, CLIENT_CLOSED_REQUEST)

    run(test)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_a_write_continues_when_its_client_disconnects(method: str) -> None:
    async def test() -> None:
        call, handled = AbortableRequest(method), WaitingApp(ending=False)
        task = await abort_while_handled(call, handled)
        assert not task.done()
        handled.may_answer.set()
        await task
        assert (handled.finished, call.status) == (True, 200)

    run(test)


def test_a_handler_may_allow_cancellation_later() -> None:
    async def test() -> None:
        call, handled = AbortableRequest(), WaitingApp(ending=False)
        task = await abort_while_handled(call, handled)
        WaitingApp.client_of(call.scope).cancel_on_disconnect()
        await task
        assert (handled.finished, call.status) == (False, CLIENT_CLOSED_REQUEST)

    run(test)


def test_a_client_may_disconnect_after_the_response() -> None:
    async def test() -> None:
        call, over = AbortableRequest("GET", b""), asyncio.Event()
        noted = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
            call.leave()
            await asyncio.sleep(0.01)
            noted.append("afterwards")
            over.set()

        await call.of(DisconnectMiddleware(app))
        assert noted == ["afterwards"]
        assert [each["type"] for each in call.sent] == ["http.response.start", "http.response.body"]

    run(test)


def test_an_application_that_awaits_the_disconnect_gets_it() -> None:
    async def test() -> None:
        heard: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            heard.extend([(await receive())["type"], (await receive())["type"]])

        call = AbortableRequest("POST")
        call.leave()
        await call.of(DisconnectMiddleware(app))
        assert heard == ["http.request", "http.disconnect"]

    run(test)


def test_no_further_image_is_judged_after_its_client_disconnects(
    client: TestClient, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, begun, may_end = [], threading.Event(), threading.Event()
    really = Moderator.judge_reduced

    def slowly(moderator: Moderator, source: Any) -> Any:
        judged.append(source)
        begun.set()
        may_end.wait(20)
        return really(moderator, source)

    monkeypatch.setattr(Moderator, "judge_reduced", slowly)
    picture = photographs[1].read_bytes()
    body = json.dumps({"images": [base64.b64encode(picture).decode()] * 40}).encode()

    async def leave() -> int | None:
        call = AbortableRequest(body=body, content_type="application/json")
        call.scope["state"] = client.app_state.copy()
        task = asyncio.create_task(call.of(client.app))
        await asyncio.to_thread(begun.wait, 20)
        call.leave()
        await asyncio.wait_for(task, 20)
        may_end.set()
        return call.status

    assert client.portal is not None
    assert client.portal.call(leave) == CLIENT_CLOSED_REQUEST
    assert (
        client.post("/v1/moderate", content=picture, headers={"Content-Type": "image/jpeg"}).status_code
        == 200
    )
    threads = client.app.state.safelight.threads  # type: ignore[attr-defined]
    assert len(judged) <= threads.image_concurrency + 1


def test_a_job_continues_when_its_waiting_client_disconnects(
    client: TestClient, service: QueueService
) -> None:
    async def leave() -> int | None:
        call = AbortableRequest(
            body=b'{"prompt": "a cat"}', path="/sdapi/v1/txt2img", content_type="application/json"
        )
        call.scope["state"] = client.app_state.copy()
        task = asyncio.create_task(call.of(client.app))
        while not service.store.find():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        call.leave()
        await asyncio.wait_for(task, 20)
        return call.status

    assert client.portal is not None
    assert client.portal.call(leave) == CLIENT_CLOSED_REQUEST
    (job,) = service.store.find()
    assert job.state == "queued"
