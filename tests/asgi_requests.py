"""Requests to an ASGI application without a server, with paths that HTTP clients would normalise first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Result = TypeVar("Result")


@dataclass
class AsgiResponse:
    """The messages that an application sent.

    Args:
        messages: All of them, in order.
    """

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status."""
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers, by their names in lower case."""
        return {name.decode().lower(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(message.get("body", b"") for message in self.messages)


async def request_async(app: ASGIApp, path: str, **scope_items: Any) -> AsgiResponse:
    """Send a request and return the response.

    Args:
        app: The application.
        path: The path as a server has decoded it.
        scope_items: Items of the scope: ``method``, ``query_string``, ``headers``, ``type``.
    """
    answer = AsgiResponse()
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [],
    } | scope_items

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


def request(app: ASGIApp, path: str, **scope_items: Any) -> AsgiResponse:
    """Send a request from synchronous code; see ``request_async``."""
    return run_in_thread(request_async(app, path, **scope_items))


def run_in_thread(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a thread, since an open browser has an event loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class RecordingApp:
    """An application that sends the same response to every request and records the scopes.

    Args:
        body: The response's body, in pieces.
        status: The HTTP status.
    """

    def __init__(self, body: Iterable[bytes] = (b"said",), status: int = 200) -> None:
        self.scopes: list[Scope] = []
        self._body, self._status = list(body), status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        headers = [(b"cache-control", b"public"), (b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        for piece in self._body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
