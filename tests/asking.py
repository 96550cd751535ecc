"""Asking an ASGI application without a server, and with paths that HTTP clients would tidy up first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Result = TypeVar("Result")


@dataclass
class Answer:
    """What was sent.

    Args:
        messages: All of it, in order.
    """

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status."""
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, by their names in small letters."""
        return {name.decode().lower(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(message.get("body", b"") for message in self.messages)


async def asked(app: ASGIApp, path: str, **more: Any) -> Answer:
    """The answer to a request.

    Args:
        app: Whom to ask.
        path: As the server decoded it.
        more: Of the scope: ``method``, ``query_string``, ``headers``, ``type``.
    """
    answer = Answer()
    scope: Scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []} | more

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


def ask(app: ASGIApp, path: str, **more: Any) -> Answer:
    """Likewise, from where nothing can be awaited."""
    return run(asked(app, path, **more))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """What comes of it; in a thread, since a browser that is open has a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Recorder:
    """An application that says the same to everybody and keeps what it was asked.

    Args:
        body: What it says, in pieces.
        status: The HTTP status.
    """

    def __init__(self, body: Iterable[bytes] = (b"said",), status: int = 200) -> None:
        self.asked: list[Scope] = []
        self._body, self._status = list(body), status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        headers = [(b"cache-control", b"public"), (b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        for piece in self._body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
