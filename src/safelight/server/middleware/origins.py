"""Host and Origin checks: a web page that is open in a user's browser can send requests to this machine, too.

Against foreign names that resolve to this machine (DNS rebinding), the Host header has to be a name of this server.
Against pages that send requests without reading the responses (CSRF), the Origin of a request has to be this server or
one of ``cors_origins``. Clients that are no browsers send no Origin, and pass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import DeniedError, HostRefusedError, OriginRefusedError
from safelight.server.errors_http import refuse
from safelight.server.guard import OPEN_PATHS, is_loopback, listens_beyond_loopback
from safelight.server.own_pages import own_origins
from safelight.settings import Settings

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::\d{1,5})?", re.ASCII | re.IGNORECASE
)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Origins:
    """Refuses requests with a foreign Host or from foreign pages.

    Args:
        app: The next ASGI application.
        settings: The settings with the host, ``allowed_hosts`` and ``cors_origins``.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in settings.allowed_hosts)
        self._beyond = listens_beyond_loopback(settings)
        self._origins = frozenset(origin.lower() for origin in settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "lifespan" and (error := self._complaint(scope)):
            await refuse(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _complaint(self, scope: Scope) -> DeniedError | None:
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if scope["path"] not in OPEN_PATHS and (len(host) != 1 or not self._is_ours(host[0])):
            return HostRefusedError(f"This server does not answer as {', '.join(host)[:100] or 'nobody'}.")
        if not _may_come(scope, headers, self._origins | own_origins(headers)):
            return OriginRefusedError()
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host is this server's. An IP address always is on an exposed server: rebinding needs a name."""
        name = _name(host)
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        with suppress(ValueError):
            ipaddress.ip_address(name)
            return self._beyond or is_loopback(name)
        return False


def _may_come(scope: Scope, headers: Headers, origins: Collection[str]) -> bool:
    """Whether a request comes from no page, from our own, or from an allowed origin."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.lower() in origins:
        return True
    reading = scope["type"] == "http" and scope["method"] in SAFE
    if origin is not None and not reading:
        return False
    foreign = site in ("cross-site", "same-site")
    return not foreign or (reading and headers.get("sec-fetch-mode") == "navigate")


def _name(host: str) -> str:
    """A Host header without its port, in lower case; empty if it is invalid."""
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"]).lower().rstrip(".") if found else ""
