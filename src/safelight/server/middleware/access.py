"""Authentication middleware: finds the principal of a request before its body is read."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext

import structlog
from anyio import CancelScope
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import (
    DatabaseError,
    KeyInvalidError,
    KeyRequiredError,
    RateLimitError,
    SafelightError,
    ServerStartingError,
)
from safelight.server.browsers import SESSION, is_part_of_page, is_visit, to_sign_in, without_window
from safelight.server.credentials import counted, credentials, session_of
from safelight.server.errors_http import REFUSED, refuse, remember
from safelight.server.guard import OPEN_PATHS, wants_keys
from safelight.server.limits import MINUTE, Limits
from safelight.server.pages import OPEN_PAGES
from safelight.server.roles import LOCAL, Caller, Role
from safelight.server.room import Seats
from safelight.server.state import Backstage
from safelight.settings import Settings

ASK_AGAIN = 5.0
"""Seconds between two checks of the credentials of a request that is still being answered."""
MOST_REQUESTS = 100
"""Maximum number of concurrent requests of one user, streams and WebSockets included."""


class Access:
    """Accepts requests with a valid key or session, and all requests on a loopback server without keys.

    Args:
        app: The next ASGI application.
        settings: The server's settings.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._seats = Seats("requests", MOST_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send = without_window(scope, send)
        if _is_open(scope):
            await self._app(scope, receive, send)
            return
        behind: Backstage | None = getattr(scope["app"].state, "backstage", None)
        if behind is None:
            await refuse(ServerStartingError(), scope, receive, send)
            return
        try:
            who = await behind.threads.key(self._caller, behind, scope)
        except SafelightError as error:
            await _turn_away(error, scope, receive, send)
            return
        structlog.contextvars.bind_contextvars(owner=who.owner)
        scope.setdefault("state", {})["caller"] = who
        told = _with_rates(send, behind.limits, who)
        try:
            if not is_part_of_page(scope):
                behind.limits.request(who)
            with self._seat(who):
                await self._while_known(behind, scope, receive, told)
        except RateLimitError as error:
            await refuse(error, scope, receive, told)

    def _seat(self, who: Caller) -> AbstractContextManager[None]:
        return nullcontext() if who.role is Role.ADMIN else self._seats.taken(who.owner)

    async def _while_known(self, behind: Backstage, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request, and end it when its key is revoked or its session closed: streams can take hours."""
        answer = _Answer(scope, receive, send)
        with CancelScope() as talk:
            watching = asyncio.create_task(self._watch(behind, scope, talk))
            try:
                await self._app(scope, receive, answer.send)
            finally:
                watching.cancel()
        if talk.cancelled_caught:
            await answer.end(watching.result())

    async def _watch(self, behind: Backstage, scope: Scope, talk: CancelScope) -> SafelightError:
        """Cancel a request as soon as its credentials are no longer valid; returns the error."""
        while True:
            await asyncio.sleep(ASK_AGAIN)
            try:
                await behind.threads.key(self._caller, behind, scope)
            except DatabaseError:
                continue  # an unavailable database does not make credentials invalid
            except SafelightError as error:
                talk.cancel()
                return error

    def _caller(self, behind: Backstage, scope: Scope) -> Caller:
        """The principal of a request; runs in a thread, since it reads the database."""
        if not wants_keys(self._settings, behind.keys):
            return LOCAL
        with counted(behind.limits, scope):
            name, key = credentials(Headers(scope=scope))
            if key is not None:
                return behind.keys.caller(key, name)
        if (token := session_of(scope)) is not None:
            return behind.sessions.caller(token)
        raise KeyRequiredError


class _Answer:
    """A response that can be ended while it is being sent.

    Args:
        scope: The request's scope.
        receive: The request's receive channel.
        send: The request's send channel.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._begun = self._over = False

    async def send(self, message: Message) -> None:
        """Send a message and track the state of the response."""
        await self._send(message)
        self._begun |= message["type"] in ("http.response.start", "websocket.accept")
        self._over |= message["type"] == "websocket.close"
        self._over |= message["type"] == "http.response.body" and not message.get("more_body", False)

    async def end(self, error: SafelightError) -> None:
        """Send an error if the response has not started, else end it."""
        if self._over:
            return
        if not self._begun:
            await refuse(error, self._scope, self._receive, self._send)
        elif self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": REFUSED, "reason": error.message})
        else:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_open(scope: Scope) -> bool:
    """Whether a request needs no key: health checks and signing in."""
    signs_in = scope["path"] == SESSION and scope.get("method") == "POST"
    return signs_in or scope["path"] in OPEN_PATHS or scope["path"] in OPEN_PAGES


async def _turn_away(error: SafelightError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request; a browser that opens the web UI is redirected to the sign-in page."""
    if isinstance(error, KeyRequiredError | KeyInvalidError) and is_visit(scope):
        remember(error, scope)
        await to_sign_in(scope)(scope, receive, send)
    else:
        await refuse(error, scope, receive, send)


def _with_rates(send: Send, limits: Limits, who: Caller) -> Send:
    """Add the RateLimit headers of the IETF draft to the response."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start" and (rates := limits.rates(who)):
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Policy"] = ", ".join(
                f'"{rate.name}";q={rate.limit:.0f};w={MINUTE:.0f}' for rate in rates
            )
            headers["RateLimit"] = ", ".join(
                f'"{rate.name}";r={int(rate.left)};t={rate.reset:.0f}' for rate in rates
            )
        await send(message)

    return told
