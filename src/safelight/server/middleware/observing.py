"""Telemetry, the outermost middleware: request ids, logs, metrics, default headers, responses to unexpected errors."""

from __future__ import annotations

import asyncio
import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.audit import AuditLog
from safelight.errors import ConnectionLimitError, DeniedError, InternalError, LimitedError, SafelightError
from safelight.logs import logger
from safelight.server.errors_http import refuse
from safelight.server.guard import OPEN_PATHS
from safelight.server.metrics import Metrics
from safelight.server.protocol import REFUSED

REQUEST_ID = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Default headers of responses; a route may set its own."""
_NOTED = {DeniedError: "denied", LimitedError: "limited"}


class Observing:
    """Gives every request an id and every response the default headers.

    Args:
        app: The next ASGI application.
        metrics: The metrics that count requests.
        audit: The audit log of refusals.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, audit: AuditLog) -> None:
        self._app, self._metrics, self._audit = app, metrics, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        request_id = _request_id(scope)

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), request_id)
            elif message["type"] in ("websocket.accept", "websocket.close"):
                status = status or (101 if message["type"] == "websocket.accept" else 403)
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id, address=_address(scope))
        scope.setdefault("state", {})["request_id"] = request_id
        try:
            if scope["state"].get(REFUSED) and scope["path"] not in OPEN_PATHS:
                await refuse(ConnectionLimitError(), scope, receive, observed)
            else:
                await self._app(scope, receive, observed)
        except Exception as error:  # noqa: BLE001  the outermost middleware answers every defect
            logger(__name__).error("a defect", exc_info=error)
            if not status:
                await refuse(_defect(error), scope, receive, observed)
        finally:
            self._tell(scope, status, time.perf_counter() - began)
            await self._note(scope)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope.get("method", "WEBSOCKET")
        self._metrics.count(method, template_of(scope), status, seconds)
        log = logger(__name__)
        say = log.debug if scope["path"].startswith("/health/") or scope["path"] == "/metrics" else log.info
        say("request", method=method, path=scope["path"], status=status, seconds=round(seconds, 4))

    async def _note(self, scope: Scope) -> None:
        error = scope["state"].get("error")
        event = next((event for kind, event in _NOTED.items() if isinstance(error, kind)), None)
        behind = getattr(scope["app"].state, "backstage", None)
        if event is not None and (behind is None or behind.limits.worth_noting(_address(scope))):
            method = scope.get("method", "WEBSOCKET")
            await asyncio.to_thread(
                self._audit.note, event, why=error.code, method=method, path=scope["path"][:200]
            )


def template_of(scope: Scope) -> str:
    """The path template of the request's route: of low cardinality, as metrics need."""
    return getattr(scope.get("route"), "path", None) or "none"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _request_id(scope: Scope) -> str:
    """The client's request id, if it is valid, or a new one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _SANE.fullmatch(given) else uuid4().hex


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    headers[REQUEST_ID] = request_id
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)


def _defect(error: Exception) -> SafelightError:
    return InternalError(f"{type(error).__name__} while answering.", hint="The server's log tells more.")
