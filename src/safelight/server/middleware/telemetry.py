"""Telemetry, the outermost middleware: request ids, logs, metrics, default headers, responses to unexpected errors."""

from __future__ import annotations

import asyncio
import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.audit_log import AuditLog
from safelight.errors import ConnectionLimitError, DeniedError, InternalError, LimitError, SafelightError
from safelight.logs import get_logger
from safelight.server.core.app_state import AppState
from safelight.server.core.exception_handlers import send_error
from safelight.server.core.http_protocol import OVER_LIMIT
from safelight.server.core.monitoring.metrics import Metrics
from safelight.server.security.bind_policy import PUBLIC_PATHS

REQUEST_ID = "X-Request-ID"
_VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_DEFAULT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Default headers of responses; a route may set its own."""
_AUDITED = {DeniedError: "denied", LimitError: "limited"}


class TelemetryMiddleware:
    """Gives every request an id and every response the default headers.

    Args:
        app: The next ASGI application.
        metrics: The metrics that count requests.
        audit: The audit log of refusals.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, audit: AuditLog) -> None:
        self._app, self._metrics, self._audit_log = app, metrics, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        request_id = _request_id(scope)

        async def send_observed(message: Message) -> None:
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
            if scope["state"].get(OVER_LIMIT) and scope["path"] not in PUBLIC_PATHS:
                await send_error(ConnectionLimitError(), scope, receive, send_observed)
            else:
                await self._app(scope, receive, send_observed)
        except Exception as error:  # noqa: BLE001  the outermost middleware answers every defect
            get_logger(__name__).error("a defect", exc_info=error)
            if not status:
                await send_error(_internal_error(error), scope, receive, send_observed)
        finally:
            self._record(scope, status, time.perf_counter() - started)
            await self._audit_refusal(scope)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope.get("method", "WEBSOCKET")
        self._metrics.count_request(method, route_path(scope), status, seconds)
        log = get_logger(__name__)
        write = log.debug if scope["path"].startswith("/health/") or scope["path"] == "/metrics" else log.info
        write("request", method=method, path=scope["path"], status=status, seconds=round(seconds, 4))

    async def _audit_refusal(self, scope: Scope) -> None:
        error = scope["state"].get("error")
        event = next((event for kind, event in _AUDITED.items() if isinstance(error, kind)), None)
        app_state: AppState | None = getattr(scope["app"].state, "safelight", None)
        if event is not None and (app_state is None or app_state.rate_limiter.may_note(_address(scope))):
            method = scope.get("method", "WEBSOCKET")
            await asyncio.to_thread(
                self._audit_log.write, event, why=error.code, method=method, path=scope["path"][:200]
            )


def route_path(scope: Scope) -> str:
    """The path template of the request's route: of low cardinality, as metrics need."""
    return getattr(scope.get("route"), "path", None) or "none"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _request_id(scope: Scope) -> str:
    """The client's request id, if it is valid, or a new one."""
    client_id = Headers(scope=scope).get(REQUEST_ID, "")
    return client_id if _VALID_ID.fullmatch(client_id) else uuid4().hex


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    headers[REQUEST_ID] = request_id
    for name, value in _DEFAULT_HEADERS.items():
        headers.setdefault(name, value)


def _internal_error(error: Exception) -> SafelightError:
    return InternalError(f"{type(error).__name__} while answering.", hint="The server's log tells more.")
