"""The credentials of a request: an API key in a header, or a browser's session in a cookie."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.requests import HTTPConnection
from starlette.datastructures import Headers
from starlette.types import Scope

from safelight.errors import KeyInvalidError
from safelight.server.limits import Limits
from safelight.server.own_pages import is_from_here

COOKIE = "safelight_session"


def credentials(headers: Headers) -> tuple[str | None, str | None]:
    """The name of a key, if the request gives one, and the key.

    Raises:
        KeyInvalidError: The Authorization header cannot be parsed.
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


def session_of(scope: Scope) -> str | None:
    """The session token of a browser, if the request has one and comes from the same origin.

    Browsers withhold a cookie from other sites only: other ports and sibling subdomains are the same site to them.
    """
    connection = HTTPConnection(scope)
    return connection.cookies.get(COOKIE) if is_from_here(connection.headers) else None


@contextmanager
def counted(limits: Limits, scope: Scope) -> Iterator[None]:
    """A context that counts a wrong key against the client's address.

    Raises:
        RateLimitError: Too many wrong keys came from this address.
    """
    try:
        yield
    except KeyInvalidError:
        client = scope.get("client")
        limits.wrong_key(client[0] if client else "")
        raise
