"""Nobody passes without being known: finds out whose key came along, before anything of the request is read."""

from __future__ import annotations

import asyncio
import base64

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import (
    KeyInvalidError,
    KeyRequiredError,
    RateLimitError,
    SafelightError,
    ServerStartingError,
)
from safelight.server.errors_http import refuse
from safelight.server.guard import OPEN_PATHS, listens_beyond_loopback
from safelight.server.limits import MINUTE, Limits
from safelight.server.roles import LOCAL, Caller
from safelight.server.state import Backstage
from safelight.settings import Settings


class Access:
    """Lets in who has a key, and everybody where the server is this machine's alone and there are no keys.

    Args:
        app: What is inside.
        settings: With the host.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._beyond = listens_beyond_loopback(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        behind: Backstage | None = getattr(scope["app"].state, "backstage", None)
        if behind is None:
            await refuse(ServerStartingError(), scope, receive, send)
            return
        try:
            who = await asyncio.to_thread(self._caller, behind, scope)
        except SafelightError as error:
            await refuse(error, scope, receive, send)
            return
        structlog.contextvars.bind_contextvars(owner=who.owner)
        scope.setdefault("state", {})["caller"] = who
        told = _with_rates(send, behind.limits, who)
        try:
            behind.limits.request(who)
        except RateLimitError as error:
            await refuse(error, scope, receive, told)
        else:
            await self._app(scope, receive, told)

    def _caller(self, behind: Backstage, scope: Scope) -> Caller:
        """Who it is; runs in a thread, since it asks the database."""
        if not self._beyond and not behind.keys.any():
            return LOCAL
        try:
            name, key = credentials(Headers(scope=scope))
            if key is None:
                raise KeyRequiredError
            return behind.keys.caller(key, name)
        except KeyInvalidError:
            client = scope.get("client")
            behind.limits.wrong_key(client[0] if client else "")
            raise


def credentials(headers: Headers) -> tuple[str | None, str | None]:
    """A key's name, where it was given, and the key.

    Raises:
        KeyInvalidError: The header cannot be read.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return None, value.strip()
    if scheme.lower() == "basic":
        return _basic(value.strip())
    return None, headers.get("x-api-key")


def _basic(value: str) -> tuple[str, str]:
    try:
        name, colon, key = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:  # no base64, or no UTF-8 within
        raise KeyInvalidError from error
    if not colon:
        raise KeyInvalidError
    return name, key


def _with_rates(send: Send, limits: Limits, who: Caller) -> Send:
    """Say with the response what is left, in the words of the IETF's draft on RateLimit headers."""

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
