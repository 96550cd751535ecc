"""Convert errors to HTTP responses and WebSocket closes."""

from __future__ import annotations

import math

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
    LimitedError,
    MethodRefusedError,
    RouteMissingError,
    SafelightError,
)
from safelight.server.families import body_of, family_of, status_of
from safelight.validation import first_problem

CHALLENGE = 'Bearer realm="safelight", Basic realm="safelight", charset="UTF-8"'
"""The WWW-Authenticate header of a 401."""
TRY_AGAIN = 2
"""Retry-After of a 503, in seconds."""
REFUSED, FAILED = 1008, 1011
"""WebSocket close codes (RFC 6455): policy violation, internal error."""
_LONGEST_REASON = 123


def response_to(error: SafelightError, path: str, field: str | None = None) -> JSONResponse:
    """The response for an error, in the format of the path's API family.

    Args:
        error: The error.
        path: The request's path.
        field: The name of the invalid field, if the error is about one.
    """
    family = family_of(path)
    status = status_of(error, family)
    return JSONResponse(body_of(error, family, field), status, _headers(error, status))


def _headers(error: SafelightError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": CHALLENGE}
    if isinstance(error, LimitedError) and error.retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {"Retry-After": str(TRY_AGAIN)} if status == 503 else {}


def remember(error: SafelightError, scope: Scope) -> None:
    """Store an error in the request's scope for the outer middleware, which logs it."""
    scope.setdefault("state", {})["error"] = error


async def refuse(error: SafelightError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request or a WebSocket handshake with an error; for middleware."""
    remember(error, scope)
    response = response_to(error, scope["path"])
    if scope["type"] == "http":
        response.headers["Connection"] = "close"  # the rest of the request's body stays unread
    elif not _takes_response(websocket := WebSocket(scope, receive, send)):
        await _close(websocket, error)
        return
    await response(scope, receive, send)


async def _close(websocket: WebSocket, error: SafelightError) -> None:
    code = REFUSED if error.http_status < 500 else FAILED
    await websocket.close(code, error.message.encode()[:_LONGEST_REASON].decode(errors="ignore"))


def _takes_response(connection: HTTPConnection) -> bool:
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
        remember(error, connection.scope)
        if isinstance(connection, WebSocket) and not _takes_response(connection):
            await _close(connection, error)
            return None
        return response_to(error, connection.url.path, field)

    @app.exception_handler(SafelightError)
    async def known(connection: HTTPConnection, error: SafelightError) -> JSONResponse | None:
        return await answer(connection, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(connection: HTTPConnection, error: RequestValidationError) -> JSONResponse | None:
        field, message = _complaint(error)
        return await answer(connection, BodyInvalidError(message), field)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        response = response_to(_from_status(error, request), request.url.path)
        response.headers.update(error.headers or {})
        response.status_code = error.status_code
        return response


def _complaint(error: RequestValidationError) -> tuple[str | None, str]:
    """The first field that was wrong, and what was wrong with it; never its value, which may be a whole picture."""
    problem = first_problem(error, skip=1)
    return problem.field or None, f"{problem}."


def _from_status(error: HTTPException, request: Request) -> SafelightError:
    """The catalogue's error for an exception that Starlette or FastAPI raised."""
    if error.status_code == 404:
        return RouteMissingError(f"There is nothing under {request.url.path}.")
    if error.status_code == 405:
        return MethodRefusedError(f"{request.url.path} does not take {request.method}.")
    if error.status_code < 500:
        return BodyInvalidError(str(error.detail))
    return InternalError(str(error.detail))
