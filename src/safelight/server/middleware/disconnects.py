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

CLIENT_CLOSED_REQUEST = 499
"""The status in logs and metrics of a request whose client did not wait for the response, as in nginx."""
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class ClientConnection:
    """The connection of a request's client, which detects its disconnect.

    Args:
        scope: The request's scope.
        receive: The request's receive channel.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.cancel_scope = CancelScope()
        self._disconnected = asyncio.Event()
        self._cancels = scope["method"] in _SAFE_METHODS
        self._watcher: asyncio.Task[None] | None = None
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._bodiless = self._cancels and not announced

    def cancel_on_disconnect(self) -> None:
        """Cancel the handling when the client disconnects, or now if it has."""
        self._cancels = True
        if self._disconnected.is_set():
            self.cancel_scope.cancel()

    def start(self) -> None:
        """Start to wait for a disconnect, if there is no body to be read first."""
        if self._bodiless:
            self._watcher = asyncio.create_task(self._wait_for_disconnect())

    def stop(self) -> None:
        """Stop waiting for a disconnect."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def receive(self) -> Message:
        """The next message: parts of the body, then the disconnect."""
        if self._bodiless:
            self._bodiless = False
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._watcher is not None:
            await self._disconnected.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._on_disconnect()
        elif not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._wait_for_disconnect())
        return message

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._on_disconnect()

    def _on_disconnect(self) -> None:
        self._disconnected.set()
        if self._cancels:
            self.cancel_scope.cancel()


class DisconnectMiddleware:
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
        client, started = ClientConnection(scope, receive), False

        async def send_tracked(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                client.stop()  # after the complete response, a disconnect cancels nothing
            await send(message)

        scope.setdefault("state", {})["client"] = client
        client.start()
        try:
            with client.cancel_scope:
                await self._app(scope, client.receive, send_tracked)
        finally:
            client.stop()
        if client.cancel_scope.cancelled_caught and not started:
            await send({"type": "http.response.start", "status": CLIENT_CLOSED_REQUEST, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def client_connection(request: Request) -> ClientConnection:
    """The connection of a request's client."""
    found: ClientConnection = request.state.client
    return found


def cancel_on_disconnect(request: Request) -> None:
    """A dependency for routes whose handling is cancelled when the client disconnects."""
    client_connection(request).cancel_on_disconnect()


CurrentClient = Annotated[ClientConnection, Depends(client_connection)]
CANCEL_ON_DISCONNECT = [Depends(cancel_on_disconnect)]
