"""Convert errors to HTTP responses and WebSocket closes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketState

from safelight.errors import (
    BodyInvalidError,
    InternalError,
    LimitError,
    MethodNotAllowedError,
    RouteNotFoundError,
    SafelightError,
    field_error,
)
from safelight.jobs.task import TASKS
from safelight.server.core.api_families import api_family_of
from safelight.validation import Problem, all_problems

AUTH_CHALLENGE = 'Bearer realm="safelight", Basic realm="safelight", charset="UTF-8"'
"""The WWW-Authenticate header of a 401."""
RETRY_AFTER = 2
"""Retry-After of a 503, in seconds."""
WS_POLICY_VIOLATION, WS_INTERNAL_ERROR = 1008, 1011
"""WebSocket close codes (RFC 6455): policy violation, internal error."""
_MAX_REASON = 123
MAX_PROBLEMS = 20
"""How many fields an answer names that are wrong."""
_UNION_MEMBERS = ("str", "bytes", "int", "float", "bool", "none")


def error_response(error: SafelightError, path: str, field: str | None = None) -> JSONResponse:
    """The response for an error, in the format of the path's API family.

    Args:
        error: The error.
        path: The request's path.
        field: The name of the invalid field, if the request does not match its schema.
    """
    family = api_family_of(path)
    status = family.http_status(error)
    return JSONResponse(family.error_body(error, field), status, _headers(error, status))


def _headers(error: SafelightError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": AUTH_CHALLENGE}
    if isinstance(error, LimitError) and error.retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}


def record_error(error: SafelightError, scope: Scope) -> None:
    """Store an error in the request's scope for the outer middleware, which logs it."""
    scope.setdefault("state", {})["error"] = error


async def send_error(error: SafelightError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request or a WebSocket handshake with an error; for middleware."""
    record_error(error, scope)
    response = error_response(error, scope["path"])
    if scope["type"] == "http":
        response.headers["Connection"] = "close"  # the rest of the request's body stays unread
    elif not _accepts_response(websocket := WebSocket(scope, receive, send)):
        await _close_websocket(websocket, error)
        return
    await response(scope, receive, send)


async def _close_websocket(websocket: WebSocket, error: SafelightError) -> None:
    code = WS_POLICY_VIOLATION if error.http_status < 500 else WS_INTERNAL_ERROR
    await websocket.close(code, error.message.encode()[:_MAX_REASON].decode(errors="ignore"))


def _accepts_response(connection: HTTPConnection) -> bool:
    """Whether an HTTP response can be sent: to a WebSocket only before it is accepted, if the server supports that."""
    if not isinstance(connection, WebSocket):
        return True
    opening = connection.application_state is WebSocketState.CONNECTING
    return opening and "websocket.http.response" in connection.scope.get("extensions", {})


def install(app: FastAPI) -> None:
    """Register exception handlers that answer every error in the format of its API family."""

    async def answer(
        connection: HTTPConnection, error: SafelightError, field: str | None = None
    ) -> JSONResponse | None:
        record_error(error, connection.scope)
        if isinstance(connection, WebSocket) and not _accepts_response(connection):
            await _close_websocket(connection, error)
            return None
        return error_response(error, connection.url.path, field)

    @app.exception_handler(SafelightError)
    async def known(connection: HTTPConnection, error: SafelightError) -> JSONResponse | None:
        return await answer(connection, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(connection: HTTPConnection, error: RequestValidationError) -> JSONResponse | None:
        found = _validation_error(error)
        return await answer(connection, found, found.field or None)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        response = error_response(_catalogue_error(error, request), request.url.path)
        response.headers.update(error.headers or {})
        response.status_code = error.status_code
        return response


def _validation_error(error: RequestValidationError) -> BodyInvalidError:
    """What is wrong with the first field, and with all of them; never a value, which may be a whole picture."""
    problems = [_as_field(problem) for problem in all_problems(error, skip=1)[:MAX_PROBLEMS]]
    errors = [field_error(problem, f"{problem}.") for problem in problems]
    found: dict[str, dict[str, Any]] = {}  # by field: each type of a union has problems of its own
    for each, problem in zip(errors, problems, strict=True):
        shown = {"field": each.field, "code": each.code, "message": problem.message, "context": each.context}
        found.setdefault(each.field, shown)
    errors[0].problems = list(found.values())
    return errors[0]


def _as_field(problem: Problem) -> Problem:
    """The problem with the path of a field of the request, without what pydantic adds for unions."""
    parts = problem.field.split(".")
    if parts[0] in TASKS:  # the kind of job, by which the body's schema was chosen
        parts = parts[1:]
    while len(parts) > 1 and parts[-1] in _UNION_MEMBERS:
        parts = parts[:-1]
    return replace(problem, field=".".join(parts))


def _catalogue_error(error: HTTPException, request: Request) -> SafelightError:
    """The catalogue's error for an exception that Starlette or FastAPI raised."""
    if error.status_code == 404:
        return RouteNotFoundError(f"There is nothing under {request.url.path}.")
    if error.status_code == 405:
        return MethodNotAllowedError(f"{request.url.path} does not take {request.method}.")
    if error.status_code < 500:
        return BodyInvalidError(str(error.detail))
    return InternalError(str(error.detail))
