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
from safelight.server.core.app_state import AppState
from safelight.server.core.exception_handlers import WS_POLICY_VIOLATION, record_error, send_error
from safelight.server.core.static_pages import PUBLIC_PAGES
from safelight.server.security.bind_policy import PUBLIC_PATHS, requires_keys
from safelight.server.security.browser_auth import (
    SESSION_PATH,
    is_page_asset,
    is_page_visit,
    sign_in_redirect,
    without_basic_challenge,
)
from safelight.server.security.credentials import counting_wrong_keys, parse_credentials, session_token
from safelight.server.security.principal import LOCAL, Principal, Role
from safelight.server.security.quotas import ConcurrencyQuota
from safelight.server.security.rate_limits import MINUTE, RateLimiter
from safelight.settings import Settings

RECHECK_INTERVAL = 5.0
"""Seconds between two checks of the credentials of a request that is still being answered."""
MAX_CONCURRENT_REQUESTS = 100
"""Maximum number of concurrent requests of one user, streams and WebSockets included."""


class AuthenticationMiddleware:
    """Accepts requests with a valid key or session, and all requests on a loopback server without keys.

    Args:
        app: The next ASGI application.
        settings: The server's settings.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._concurrency = ConcurrencyQuota("requests", MAX_CONCURRENT_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send = without_basic_challenge(scope, send)
        if _is_public(scope):
            await self._app(scope, receive, send)
            return
        behind: AppState | None = getattr(scope["app"].state, "safelight", None)
        if behind is None:
            await send_error(ServerStartingError(), scope, receive, send)
            return
        try:
            who = await behind.threads.run_auth(self._authenticate, behind, scope)
        except SafelightError as error:
            await _deny(error, scope, receive, send)
            return
        structlog.contextvars.bind_contextvars(owner=who.owner)
        scope.setdefault("state", {})["principal"] = who
        send_with_rates = _with_rate_headers(send, behind.rate_limiter, who)
        try:
            if not is_page_asset(scope):
                behind.rate_limiter.count_request(who)
            with self._request_slot(who):
                await self._run_while_authenticated(behind, scope, receive, send_with_rates)
        except RateLimitError as error:
            await send_error(error, scope, receive, send_with_rates)

    def _request_slot(self, principal: Principal) -> AbstractContextManager[None]:
        return nullcontext() if principal.role is Role.ADMIN else self._concurrency.acquired(principal.owner)

    async def _run_while_authenticated(
        self, app_state: AppState, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run a request, and end it when its key is revoked or its session closed: streams can take hours."""
        response = _Response(scope, receive, send)
        with CancelScope() as cancel_scope:
            recheck = asyncio.create_task(self._recheck(app_state, scope, cancel_scope))
            try:
                await self._app(scope, receive, response.send)
            finally:
                recheck.cancel()
        if cancel_scope.cancelled_caught:
            await response.end(recheck.result())

    async def _recheck(
        self, app_state: AppState, scope: Scope, scope_to_cancel: CancelScope
    ) -> SafelightError:
        """Cancel a request as soon as its credentials are no longer valid; returns the error."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL)
            try:
                await app_state.threads.run_auth(self._authenticate, app_state, scope)
            except DatabaseError:
                continue  # an unavailable database does not make credentials invalid
            except SafelightError as error:
                scope_to_cancel.cancel()
                return error

    def _authenticate(self, app_state: AppState, scope: Scope) -> Principal:
        """The principal of a request; runs in a thread, since it reads the database."""
        if not requires_keys(self._settings, app_state.keys):
            return LOCAL
        with counting_wrong_keys(app_state.rate_limiter, scope):
            name, key = parse_credentials(Headers(scope=scope))
            if key is not None:
                return app_state.keys.authenticate(key, name)
        if (token := session_token(scope)) is not None:
            return app_state.sessions.authenticate(token)
        raise KeyRequiredError


class _Response:
    """A response that can be ended while it is being sent.

    Args:
        scope: The request's scope.
        receive: The request's receive channel.
        send: The request's send channel.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._started = self._complete = False

    async def send(self, message: Message) -> None:
        """Send a message and track the state of the response."""
        await self._send(message)
        self._started |= message["type"] in ("http.response.start", "websocket.accept")
        self._complete |= message["type"] == "websocket.close"
        self._complete |= message["type"] == "http.response.body" and not message.get("more_body", False)

    async def end(self, error: SafelightError) -> None:
        """Send an error if the response has not started, else end it."""
        if self._complete:
            return
        if not self._started:
            await send_error(error, self._scope, self._receive, self._send)
        elif self._scope["type"] == "websocket":
            await self._send(
                {"type": "websocket.close", "code": WS_POLICY_VIOLATION, "reason": error.message}
            )
        else:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_public(scope: Scope) -> bool:
    """Whether a request needs no key: health checks and signing in."""
    is_sign_in = scope["path"] == SESSION_PATH and scope.get("method") == "POST"
    return is_sign_in or scope["path"] in PUBLIC_PATHS or scope["path"] in PUBLIC_PAGES


async def _deny(error: SafelightError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request; a browser that opens the web UI is redirected to the sign-in page."""
    if isinstance(error, KeyRequiredError | KeyInvalidError) and is_page_visit(scope):
        record_error(error, scope)
        await sign_in_redirect(scope)(scope, receive, send)
    else:
        await send_error(error, scope, receive, send)


def _with_rate_headers(send: Send, limits: RateLimiter, principal: Principal) -> Send:
    """Add the RateLimit headers of the IETF draft to the response."""

    async def send_with_rates(message: Message) -> None:
        if message["type"] == "http.response.start" and (rates := limits.rates(principal)):
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Policy"] = ", ".join(
                f'"{rate.name}";q={rate.limit:.0f};w={MINUTE:.0f}' for rate in rates
            )
            headers["RateLimit"] = ", ".join(
                f'"{rate.name}";r={int(rate.remaining)};t={rate.reset:.0f}' for rate in rates
            )
        await send(message)

    return send_with_rates
