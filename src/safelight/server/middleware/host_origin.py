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
from safelight.server.core.exception_handlers import send_error
from safelight.server.security.bind_policy import PUBLIC_PATHS, is_exposed, is_loopback
from safelight.server.security.same_origin import own_origins
from safelight.settings import Settings

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::\d{1,5})?", re.ASCII | re.IGNORECASE
)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class HostOriginMiddleware:
    """Refuses requests with a foreign Host or from foreign pages.

    Args:
        app: The next ASGI application.
        settings: The settings with the host, ``allowed_hosts`` and ``cors_origins``.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in settings.allowed_hosts)
        self._exposed = is_exposed(settings)
        self._origins = frozenset(origin.lower() for origin in settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "lifespan" and (error := self._error(scope)):
            await send_error(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _error(self, scope: Scope) -> DeniedError | None:
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if scope["path"] not in PUBLIC_PATHS and (len(host) != 1 or not self._is_own_host(host[0])):
            return HostRefusedError(f"This server does not answer as {', '.join(host)[:100] or 'nobody'}.")
        if not _is_allowed_origin(scope, headers, self._origins | own_origins(headers)):
            return OriginRefusedError()
        return None

    def _is_own_host(self, host: str) -> bool:
        """Whether a Host is this server's. An IP address always is on an exposed server: rebinding needs a name."""
        name = _host_name(host)
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        with suppress(ValueError):
            ipaddress.ip_address(name)
            return self._exposed or is_loopback(name)
        return False


def _is_allowed_origin(scope: Scope, headers: Headers, origins: Collection[str]) -> bool:
    """Whether a request comes from no page, from our own, or from an allowed origin."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.lower() in origins:
        return True
    is_read = scope["type"] == "http" and scope["method"] in SAFE_METHODS
    if origin is not None and not is_read:
        return False
    foreign = site in ("cross-site", "same-site")
    return not foreign or (is_read and headers.get("sec-fetch-mode") == "navigate")


def _host_name(host: str) -> str:
    """A Host header without its port, in lower case; empty if it is invalid."""
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"]).lower().rstrip(".") if found else ""
