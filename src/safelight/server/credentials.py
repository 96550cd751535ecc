"""What a request brings along to say whose it is: a key in a header, or a browser's session in a cookie."""

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


def session_of(scope: Scope) -> str | None:
    """The token of a browser's session, if it sent one, and not for another origin's page.

    Browsers keep a cookie from other sites only: to them, other ports and neighbouring names are the same site.
    """
    connection = HTTPConnection(scope)
    return connection.cookies.get(COOKIE) if is_from_here(connection.headers) else None


@contextmanager
def counted(limits: Limits, scope: Scope) -> Iterator[None]:
    """Within it a wrong key counts against the address that a request came from.

    Raises:
        RateLimitError: Too many came from there.
    """
    try:
        yield
    except KeyInvalidError:
        client = scope.get("client")
        limits.wrong_key(client[0] if client else "")
        raise
