"""Cancels the handling of a request when its client disconnects.

Requests without side effects are cancelled: GET and HEAD, and routes that depend on ``cancel_on_disconnect``, such as
verdicts. All others continue: a job is queued even if its client does not wait for the response.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from anyio import CancelScope
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GONE = 499
"""The status in logs and metrics of a request whose client did not wait for the response, as in nginx."""
_READING = frozenset({"GET", "HEAD"})


class Client:
    """The connection of a request's client, which detects its disconnect.

    Args:
        scope: The request's scope.
        receive: The request's receive channel.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.work = CancelScope()
        self._gone = asyncio.Event()
        self._ends = scope["method"] in _READING
        self._watch: asyncio.Task[None] | None = None
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._bodiless = self._ends and not announced

    def end_work_with_them(self) -> None:
        """Cancel the handling when the client disconnects, or now if it has."""
        self._ends = True
        if self._gone.is_set():
            self.work.cancel()

    def begin(self) -> None:
        """Start to wait for a disconnect, if there is no body to be read first."""
        if self._bodiless:
            self._watch = asyncio.create_task(self._until_gone())

    def end(self) -> None:
        """Stop waiting for a disconnect."""
        if self._watch is not None:
            self._watch.cancel()

    async def receive(self) -> Message:
        """The next message: parts of the body, then the disconnect."""
        if self._bodiless:
            self._bodiless = False
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._watch is not None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
        elif not message.get("more_body", False):
            self._watch = asyncio.create_task(self._until_gone())
        return message

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone.set()
        if self._ends:
            self.work.cancel()


class Disconnects:
    """Cancels the handling of requests whose clients disconnect.

    Args:
        app: The next ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client, begun = Client(scope, receive), False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                client.end()  # after the complete response, a disconnect cancels nothing
            await send(message)

        scope.setdefault("state", {})["client"] = client
        client.begin()
        try:
            with client.work:
                await self._app(scope, client.receive, sent)
        finally:
            client.end()
        if client.work.cancelled_caught and not begun:
            await send({"type": "http.response.start", "status": GONE, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def client(request: Request) -> Client:
    """The connection of a request's client."""
    found: Client = request.state.client
    return found


def ends_with_caller(request: Request) -> None:
    """A dependency for routes whose handling is cancelled when the client disconnects."""
    client(request).end_work_with_them()


TheClient = Annotated[Client, Depends(client)]
ENDS_WITH_CALLER = [Depends(ends_with_caller)]
