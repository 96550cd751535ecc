"""The ASGI application that answers while the real one is being loaded.

Loading takes seconds. Meanwhile liveness checks succeed, and all other requests get 503 with Retry-After; a browser
gets a page that loads itself again until the server is there. This module must not import anything slow.
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
STARTING_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="1">
<title>Safelight</title>
<style>
:root { color-scheme: light dark; }
body { display: grid; place-items: center; min-height: 90vh; margin: 0; font: 15px/1.5 system-ui, sans-serif; }
</style>
<p role="status">Safelight is starting …</p>
</html>
"""
"""What a browser shows meanwhile; it asks again each second for the page that it wants."""
PAGE_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
"""The page's Content-Security-Policy."""


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
    headers = [] if live else [(b"retry-after", b"1"), (b"cache-control", b"no-store")]
    if body is STARTING and _is_page_visit(scope):
        content = STARTING_PAGE.encode()
        headers += [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", PAGE_POLICY),
        ]
    else:
        content = json.dumps(body).encode()
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": 200 if live else 503, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _is_page_visit(scope: Scope) -> bool:
    """Whether a browser navigates to an address."""
    accepted = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept")
    return scope.get("method") == "GET" and b"text/html" in accepted.lower()
