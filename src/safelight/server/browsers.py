"""Authentication of browsers: redirects to the sign-in page, and challenges that open no login dialog."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import Message, Scope, Send

from safelight.server.credentials import session_of
from safelight.ui.paths import PATH, STATIC

SESSION = "/v1/session"
SIGN_IN = "/sign-in"
PARTS = (f"{PATH}/assets/", f"{PATH}/static/", f"{STATIC}/")
"""Path prefixes of the web UI's scripts, styles and fonts: Gradio's and our own."""
CHALLENGE = 'Bearer realm="safelight"'
"""The challenge of a 401 for pages: for Basic, a browser would open its own login dialog over the sign-in page."""


def is_part_of_page(scope: Scope) -> bool:
    """Whether a request is for an asset of the web UI's page, which loads about a hundred of them."""
    return scope.get("method") in ("GET", "HEAD") and scope["path"].startswith(PARTS)


def is_visit(scope: Scope) -> bool:
    """Whether a browser navigates to the web UI."""
    path = scope["path"]
    ours = path in ("/", PATH) or path.startswith(f"{PATH}/")
    return ours and scope.get("method") == "GET" and _wants_page(Headers(scope=scope))


def to_sign_in(scope: Scope) -> RedirectResponse:
    """A redirect to the sign-in page, which returns to this path; use it for page visits only (no open redirect)."""
    query = scope.get("query_string", b"").decode("latin-1")
    back = quote(scope["path"]) + (f"?{query}" if query else "")
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': back})}", 303)


def without_window(scope: Scope, send: Send) -> Send:
    """Remove Basic from the challenge of a 401 that a page reads; a direct navigation to an API path keeps it."""
    headers = Headers(scope=scope)
    told = session_of(scope) is not None or headers.get("sec-fetch-mode") is not None
    if scope["path"] != SESSION and (_wants_page(headers) or not told):
        return send

    async def sent(message: Message) -> None:
        if message["type"].endswith("http.response.start") and message["status"] == 401:
            MutableHeaders(scope=message)["WWW-Authenticate"] = CHALLENGE
        await send(message)

    return sent


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "").lower()
