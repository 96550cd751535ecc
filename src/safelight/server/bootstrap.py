"""The ASGI application that answers while the real one is being loaded.

Loading takes seconds. Meanwhile liveness checks succeed, and all other requests get 503 with Retry-After. This module
must not import anything slow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LIVE = {"status": "live"}
NOT_READY = {"status": "not ready", "missing": ["server"]}
STARTING = {"error": {"code": "server.starting", "message": "The server is still starting."}}


class BootstrapApp:
    """Answers until the application is loaded, then passes every request to it.

    Args:
        load: Creates the application; called in a thread.
        on_failure: Called with the error if the application cannot be created or started.
    """

    def __init__(self, load: Callable[[], Application], on_failure: Callable[[Exception], None]) -> None:
        self._load, self._on_failure = load, on_failure
        self._app: Application | None = None
        self._shutdown = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            await _answer_starting(scope, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Report startup at once and load the application in a task; it shuts down with the server."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        task = asyncio.create_task(self._run_app(scope))
        await receive()
        self._shutdown.set()
        await task
        await send({"type": "lifespan.shutdown.complete"})

    async def _run_app(self, scope: Scope) -> None:
        """Load the application and run its lifespan inside the server's."""
        try:
            app = await asyncio.to_thread(self._load)
            await app(scope, self._lifespan_receive(), self._lifespan_send(app))
        except Exception as error:  # noqa: BLE001  any failure to start ends the process
            self._app = None
            self._on_failure(error)

    def _lifespan_receive(self) -> Receive:
        steps = iter(("lifespan.startup", "lifespan.shutdown"))

        async def receive() -> Message:
            step = next(steps)
            if step == "lifespan.shutdown":
                await self._shutdown.wait()
            return {"type": step}

        return receive

    def _lifespan_send(self, app: Application) -> Send:
        async def send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._app = app

        return send


async def _answer_starting(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013, "reason": "starting"})
        return
    live = scope["path"] == "/health/live"
    body = LIVE if live else NOT_READY if scope["path"] == "/health/ready" else STARTING
    headers = [(b"content-type", b"application/json"), *([] if live else [(b"retry-after", b"1")])]
    await send({"type": "http.response.start", "status": 200 if live else 503, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
