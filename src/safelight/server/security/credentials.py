"""The credentials of a request: an API key in a header, or a browser's session in a cookie."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.requests import HTTPConnection
from starlette.datastructures import Headers
from starlette.types import Scope

from safelight.errors import KeyInvalidError
from safelight.server.security.rate_limits import RateLimiter
from safelight.server.security.same_origin import is_same_origin

SESSION_COOKIE = "safelight_session"


def parse_credentials(headers: Headers) -> tuple[str | None, str | None]:
    """The name of a key, if the request gives one, and the key.

    Raises:
        KeyInvalidError: The Authorization header cannot be parsed.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return None, value.strip()
    if scheme.lower() == "basic":
        return _parse_basic(value.strip())
    return None, headers.get("x-api-key")


def _parse_basic(value: str) -> tuple[str, str]:
    try:
        name, colon, key = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:  # no base64, or no UTF-8 within
        raise KeyInvalidError from error
    if not colon:
        raise KeyInvalidError
    return name, key


def session_token(scope: Scope) -> str | None:
    """The session token of a browser, if the request has one and comes from the same origin.

    Browsers withhold a cookie from other sites only: other ports and sibling subdomains are the same site to them.
    """
    connection = HTTPConnection(scope)
    return connection.cookies.get(SESSION_COOKIE) if is_same_origin(connection.headers) else None


@contextmanager
def counting_wrong_keys(limits: RateLimiter, scope: Scope) -> Iterator[None]:
    """A context that counts a wrong key against the client's address.

    Raises:
        RateLimitError: Too many wrong keys came from this address.
    """
    try:
        yield
    except KeyInvalidError:
        client = scope.get("client")
        limits.count_wrong_key(client[0] if client else "")
        raise
